"""Pairs of English words that mean the opposite of each other, or at least something different."""

from __future__ import annotations

from collections import defaultdict

_PAIRS = """
first last; highest lowest; largest smallest; biggest smallest; most least; more less; more fewer; before after
north south; northern southern; east west; eastern western; early late; earlier later; earliest latest; begin end
began ended; start end; started ended; start stop; started stopped; beginning end; increase decrease
increased decreased; increases decreases; rise fall; rose fell; win lose; won lost; winning losing; old new
oldest newest; older newer; older younger; oldest youngest; long short; longest shortest; longer shorter; high low
higher lower; large small; larger smaller; major minor; good bad; best worst; better worse; positive negative
male female; men women; man woman; father mother; son daughter; brother sister; husband wife; king queen; buy sell
bought sold; accept reject; accepted rejected; support oppose; supported opposed; supports opposes; agree disagree
agreed disagreed; allow forbid; allowed forbidden; allowed prohibited; include exclude; included excluded
above below; inside outside; internal external; public private; rich poor; strong weak
strongest weakest; common rare; always never; arrive leave; join leave
opened closed; built destroyed; build destroy; created destroyed; founded dissolved; born died; birth death
gain lose; gained lost; attack defend; attacked defended; friend enemy; allies enemies; legal illegal; able unable
possible impossible; successful unsuccessful; success failure; love hate; past future
ancient modern; domestic foreign; local global; national international; upper lower; top bottom
summer winter; morning evening; heavy light; hot cold; fast slow; fastest slowest; expensive cheap
majority minority; teacher student; students teachers; offense defense; offensive defensive; home away
import export; imported exported; employer employee; cause prevent; caused prevented; causes prevents
require prohibit; required prohibited; raised lowered; expand shrink; expanded shrank; hired fired
appointed dismissed; elected defeated; victory defeat; led followed; teach learn; taught learned
send receive; sent received; give take; gave took; live die; lived died; known unknown; popular unpopular
primary secondary; similar different; same different; wet dry; hard soft; thick thin; deep shallow; urban rural
simple complex; natural artificial; permanent temporary; maximum minimum
approved rejected; passed rejected; ratified rejected; protect harm; helped hindered; encourage discourage
encouraged discouraged; written read; produce consume; produced consumed; religious secular; civilian military
"""


def _by_word(pairs: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for pair in pairs.replace("\n", ";").split(";"):
        if pair.strip():
            one, other = pair.split()
            found[one].append(other)
            found[other].append(one)
    return {word: tuple(others) for word, others in found.items()}


OPPOSITES = _by_word(_PAIRS)
"""The words that can replace a word, by word; all in lower case."""
