"""What a message speaks of: "your parcel", "the shipment" and "USPS" are one topic, and so are "locked" and "on hold".

A word alone does not tell much: accounts are in ham and in spam. That an account is locked, and a link leads to a host
that the message does not name, is a fraud in whatever words. So the model looks at the topics of a message and at each
two of them together, and what it learns from one campaign helps against the next.

What is written here is part of every saved model: see FEATURES_VERSION in features.py before you change it.
"""

from collections.abc import Collection, Iterable, Mapping

_WORDS = {  # each word has one topic, and so has its plural
    "account": "account bank banking billing card login password paypal profile username wallet icloud",
    "booking": "booked booking invoice receipt reservation table ticket",
    "channel": "channel playlist song subs subscribe subscriber video view youtube",
    "code": "code otp passcode pin",
    "contact": "contact dm email message reply ring telegram text txt whatsapp",
    "debt": "approved credit debt finance lender loan mortgage",
    "family": "auntie brother dad daughter grandad grandma mom mum mummy nan sister son",
    "free": "complimentary free gratis trial",
    "fund": "barrister beneficiary foreign fund inheritance million",
    "gambling": "bet betting casino jackpot odds poker slot spin",
    "health": "appointment clinic dentist doctor gp nurse prescription surgery vet",
    "I": "i i'd i'll i'm i've me my",
    "investment": "bitcoin broker btc crypto eth forex invest investment investor profit returns signal stock trader "
    "trading usdt",
    "job": "earn earning earnings hire hiring hr income job position recruiter recruiting recruitment remote salary "
    "vacancy",
    "locked": "blocked cancelled closed deactivated declined disabled expired failed fraud frozen hold limited locked "
    "paused restricted suspended suspension suspicious terminated unauthorised unauthorized unsuccessful unusual",
    "love": "babe chat cute date dating girl handsome hot lonely nude pic pretty sexy single",
    "marketing": "backlink business client follower google lead marketing rank ranking seo traffic website",
    "meeting": "agenda calendar call meet meeting minutes schedule slides zoom",
    "money": "amount balance cash charge charged debited fee money owe owed paid pay payment send transfer",
    "parcel": "address courier customs deliver delivered delivery depot dhl evri fedex hermes package parcel "
    "redelivery shipment shipped shipping ups usps warehouse",
    "plans": "coffee coming dinner friday home later lunch pick pub saturday see sunday tomorrow tonight weekend",
    "politeness": "cheers kind please regards sorry thank thanks",
    "price": "buy cheap deal discount offer order ordered price promo sale save shop",
    "prize": "bonus claim congratulations draw gift giveaway lucky prize redeem reward selected voucher win winner won",
    "remedy": "cbd cialis diet drug keto lose loss pharmacy pill replica viagra watches weight",
    "school": "class club coach kids match parent practice pupil school teacher training trip",
    "stop": "end optout stop unsubscribe",
    "stranger": "friend met number remember stranger who wrong",
    "tax": "benefit fine grant hmrc irs penalty rebate refund stimulus tax toll unpaid",
    "threat": "arrest court hacked infected lawsuit lawyer legal malware police recorded security virus warrant webcam",
    "trust": "blessed confidential god honest private secret trust",
    "urgency": "asap deadline expire final hours hurry immediate immediately last now soon today urgent urgently "
    "within",
    "verifying": "authenticate complete confirm confirmation details information provide reactivate restore resubmit "
    "review submit unlock update validate verification verify",
    "visit": "below click download here link open scan tap visit",
    "we": "our us we",
    "work": "branch bug build deploy log merged pr release server staging test",
    "you": "u ur you your yours",
}
_TOPIC_OF = {word: topic for topic, words in _WORDS.items() for word in words.split()}
_TOPIC_OF = {f"{word}s": topic for word, topic in _TOPIC_OF.items()} | _TOPIC_OF
_TOPIC_OF |= {
    "[link]": "link",
    "[phone number]": "phone number",
    "[amount of money]": "amount",
    "[e-mail address]": "e-mail address",
    "[number of 4 digits]": "four digits",
    "[number of 6 digits]": "six digits",
    "?": "question",
    "!": "exclamation",
}
NAMED, HALF_NAMED, NOT_NAMED = "host that is named", "host that is half named", "host that is not named"
TOPICS = sorted({*_TOPIC_OF.values(), NAMED, HALF_NAMED, NOT_NAMED})


def topics(tokens: Collection[str]) -> Mapping[str, list[str]]:
    """Return the topics of a message, and of each the distinct tokens that speak of it."""
    found: dict[str, list[str]] = {}
    for token in tokens:
        if topic := _TOPIC_OF.get(token):
            found.setdefault(topic, []).append(token)
    if "[link]" in tokens and (about_hosts := _about_hosts(tokens)):
        found[about_hosts] = ["[link]"]
    return found


def _about_hosts(tokens: Iterable[str]) -> str | None:
    """Say whether a text names whom its links lead to: a shop does; who pretends to be a bank has another's host."""
    hosts = [token[1:] for token in tokens if token[0] == "@" and token[1:].isalpha()]  # else it is a sign
    words = [token for token in tokens if token[0] not in "@["]
    if not hosts:
        return None
    text, all_hosts = "".join(words), " ".join(hosts)
    if any(host in text for host in hosts):
        return NAMED
    return HALF_NAMED if any(len(word) > 3 and word in all_hosts for word in words) else NOT_NAMED
