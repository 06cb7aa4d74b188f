"""Names and ids: what a project, an agent, a handle, a channel and a capability may be called."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable

from loominal.model.errors import InvalidArgument

SUBJECT_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what may stand between two dots of a NATS subject
PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
HANDLE = re.compile(r"[a-z0-9-]{1,64}")
HUB = "hub"  # who made a move that no agent made
AUTOSCALER = "autoscaler"  # who invited an agent that no person asked for
AGENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # no handle: it would be found as another agent
API = "api_"  # before the role and name of a bearer token: whom a weft asks for over REST; no agent's id begins so
TOKEN_NAME = re.compile(r"[a-z0-9-]{1,40}")
API_CALLER = re.compile(rf"{API}(agent|operator|observer)_({TOKEN_NAME.pattern})")
OWN_TOKEN = "local"  # the name of the bearer token that a fabric makes for its own user
API_USERS = "api"  # behind the token's name and an @, where others have their machine's
LABEL_CHARACTERS = 100  # capabilities, boundaries, agent types
LONGEST_NORMALIZED = 4 * LABEL_CHARACTERS  # it takes time by the square of the marks: seconds for a long text
TASK_ID_CHARACTERS = 256
MOST_NAMED = 50  # in a list of what there is
SAME_MEANING = {
    word: meaning
    for meaning, words in {
        "see": "list get find show read discover look fetch search view query check",
        "send": "post write tell say broadcast",
        "offer": "create submit add assign",
        "claim": "take grab pick accept",
        "complete": "finish end close",
        "cancel": "abort stop kill",
        "leave": "deregister unregister quit",
        "join": "connect login",
        "work": "task job item ticket",
        "agent": "peer worker",
        "direct message": "inbox dm",
        "message": "msg mail text",
    }.items()
    for word in words.split()
}  # what models and people say -> the word that stands for all of these
PLAIN_NAME = "give a short plain name, such as 'python' or 'build-2'"


def subject_token(text: str, what: str) -> str:
    """Return `text` if it may be a token of a subject. Raises: InvalidArgument."""
    if not SUBJECT_TOKEN.fullmatch(text):
        raise InvalidArgument(f"{what} {shown(text)} must be 1-64 letters, digits, '_' or '-'", PLAIN_NAME)
    return text


def project_name(text: str) -> str:
    """Return `text` if a project may be called so. Raises: InvalidArgument."""
    if not PROJECT_NAME.fullmatch(text):
        raise InvalidArgument(f"project {shown(text)} must be 1-63 of a-z, 0-9 and '-', not starting with '-'")
    return text


def project_of_path(real_path: str) -> str:
    """Return the project id of a directory: the first 16 hex digits of its path's SHA-256."""
    return hashlib.sha256(real_path.encode()).hexdigest()[:16]


def token_name(text: str) -> str:
    """Return `text` if a bearer token may be called so. Raises: InvalidArgument."""
    if not TOKEN_NAME.fullmatch(text):
        raise InvalidArgument(
            f"token name {shown(text)} must be 1-40 of a-z, 0-9 and '-'", f"try {handle_like(text)[:40]!r}"
        )
    return text


def api_caller(role: str, name: str) -> str:
    """Return the id under which a weft asks for the holder of the bearer token `name`, who is `role`."""
    caller = f"{API}{role}_{name}"
    if not API_CALLER.fullmatch(caller):
        raise InvalidArgument(f"{shown(caller)} is nobody who asks over REST")
    return caller


def api_role(agent_id: str) -> str:
    """Return the role of who asks over REST: agent, operator or observer; "" if `agent_id` is another's."""
    found = API_CALLER.fullmatch(agent_id)
    return found[1] if found else ""


def api_user(agent_id: str, owner: str) -> str:
    """Return the user of who asks over REST: `owner` for the fabric's own bearer token, else one of the token's own."""
    found = API_CALLER.fullmatch(agent_id)
    name = found[2] if found else ""
    return owner if name == OWN_TOKEN else f"{name}@{API_USERS}"


def handle(text: str) -> str:
    """Return `text` if it may be a handle. Raises: InvalidArgument."""
    if not HANDLE.fullmatch(text):
        raise InvalidArgument(f"handle {shown(text)} must be 1-64 of a-z, 0-9 and '-'", f"try {handle_like(text)!r}")
    if AGENT_ID.fullmatch(text):
        raise InvalidArgument(f"handle {text!r} is an agent's guid", "take one that people can read")
    if text == HUB:
        raise InvalidArgument(f"handle {HUB!r} is the fabric's own", f"try '{HUB}-1'")
    return text


def handle_like(text: str) -> str:
    """Return the nearest valid handle to `text` (`agent` if nothing of it can be kept)."""
    plain = unicodedata.normalize("NFKD", text[:LONGEST_NORMALIZED]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or "agent"


def label(text: str, what: str) -> str:
    """Return a capability, boundary or agent type as it is compared: NFC, case-folded, trimmed.

    Raises: InvalidArgument unless it is 1-100 characters of Unicode without control characters.
    """
    if len(text) > LONGEST_NORMALIZED:
        raise InvalidArgument(f"{what} {shown(text)} must be 1-{LABEL_CHARACTERS} characters", PLAIN_NAME)
    plain = unicodedata.normalize("NFC", text).strip()
    folded = unicodedata.normalize("NFC", plain.casefold())
    if not 1 <= len(folded) <= LABEL_CHARACTERS or len(plain) > LABEL_CHARACTERS:
        raise InvalidArgument(f"{what} {shown(text)} must be 1-{LABEL_CHARACTERS} characters", PLAIN_NAME)
    if has_control(folded):
        raise InvalidArgument(f"{what} {shown(text)} must not contain control characters", PLAIN_NAME)
    return folded


def task_id(text: str) -> str:
    """Return `text` if it may be a caller's task id. Raises: InvalidArgument."""
    if not 1 <= len(text) <= TASK_ID_CHARACTERS or has_control(text):
        raise InvalidArgument(
            f"taskId {shown(text)} must be 1-{TASK_ID_CHARACTERS} characters without control characters",
            "leave it out to get one",
        )
    return text


def has_control(text: str) -> bool:
    """Return whether `text` holds a control, format, surrogate or line-separating character."""
    return any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text)


def shown(text: str) -> str:
    """Return `text` quoted on one line and cut, fit for an error message."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def one_line(text: str, characters: int = 200) -> str:
    """Return `text` on one line, cut, without control characters: fit for an error message and a log."""
    cut = text if len(text) <= characters else text[: characters - 3] + "..."
    return "".join("?" if has_control(char) else char for char in cut)


def work_id(project: str, submitter: str, task: str) -> str:
    """Return the id of the item that `submitter` calls `task`: the same three give the same item."""
    digest = hashlib.sha256("\0".join((project, submitter, task)).encode("utf-8", "surrogatepass")).hexdigest()
    return f"w_{digest[:20]}"


def nearest(text: str, known: Iterable[str]) -> str:
    """Return the name in `known` that `text` is likely to mean: of those that share most words the one most alike.

    "" if none shares most of its words or of its letters.
    """
    likely = max(known, key=lambda name: (_shared(text, name), _alike(text, name)), default="")
    return likely if _shared(text, likely) > 0.5 or _alike(text, likely) >= 0.6 else ""


def meant(text: str, known: Collection[str], what: str) -> str:
    """Return in words which of the `known` names may be meant by `text`, else which `what` there are."""
    if likely := nearest(text[:LABEL_CHARACTERS], known):
        return f"did you mean {likely!r}?"
    more = ", ..." if len(known) > MOST_NAMED else ""
    return f"the {what} are: {', '.join(itertools.islice(known, MOST_NAMED))}{more}"


def _shared(text: str, name: str) -> float:
    """Return how many of the words in either are in both."""
    mine, others = _words(text), _words(name)
    return len(mine & others) / (len(mine | others) or 1)


def _alike(text: str, name: str) -> float:
    from difflib import SequenceMatcher  # only mistakes need it

    return SequenceMatcher(None, text.lower(), name.lower()).ratio()


def _words(name: str) -> set[str]:
    """Return the words of a name, each in the singular, and one for all that mean the same."""
    words = (word.lower() for word in re.findall(r"[A-Z]?[^\W_A-Z]+|[A-Z]+", name))
    singular = (re.sub(r"(?<=\w\w[^s])s$", "", word) for word in words)
    return {part for word in singular for part in SAME_MEANING.get(word, word).split()}
