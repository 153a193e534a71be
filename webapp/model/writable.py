"""Who else may write to saved_models/? Whoever may can have any code run by the server that loads a model."""

import os
import stat
from pathlib import Path

SHOWN = 3  # places that are named


def warning(models_folder: Path) -> str:
    """Return in a sentence where others than the owner may write, and what to do; nothing where nobody else may."""
    places = [path for path in _places(models_folder) if _others_may_write(path)]
    if not places:
        return ""
    named = ", ".join(str(path) for path in places[:SHOWN])
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return (
        f"Others than the owner may write to {named}{more}: they could have any code run by this server. "
        f"Take that right away: chmod -R go-w {models_folder}"
    )


def _places(models_folder: Path) -> list[Path]:
    """Return the folder, those of the versions, and their files."""
    versions = [path for path in models_folder.glob("*") if not path.is_symlink()]  # a link is never followed
    return [models_folder, *versions, *(file for path in versions for file in path.glob("*") if not file.is_symlink())]


def _others_may_write(path: Path) -> bool:
    if os.name == "nt":  # there the mode says nothing about other people
        return False
    try:
        found = path.stat()
    except OSError:  # gone meanwhile, or not there
        return False
    by_group = bool(found.st_mode & stat.S_IWGRP) and not _is_own_group(found.st_uid, found.st_gid)
    return by_group or bool(found.st_mode & stat.S_IWOTH)


def _is_own_group(user: int, group: int) -> bool:
    """Return whether a group is that of one person, as Ubuntu and Fedora make for each and let write."""
    import grp  # these are not on Windows
    import pwd

    try:
        owner, found = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return user != 0 and found.gr_name == owner.pw_name and set(found.gr_mem) <= {owner.pw_name}
