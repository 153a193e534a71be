"""Hold the log as another program could, ask for a prediction meanwhile, and ask again afterwards."""

import sqlite3
import sys
import urllib.error
import urllib.request


def ask():
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(sys.argv[1] + "/predict", b'{"text": "See you at dinner"}', headers)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


other = sqlite3.connect("log.db")
other.execute("BEGIN EXCLUSIVE")
print("while the log is locked:", ask())
other.rollback()
print("afterwards:", ask())
