"""One phone inventory for every speech engine, and the mappings into it.

The labels are lower-case ARPAbet, plus `pau` (silence) and `breath` (an inhalation between phrases). Engines
name phones in their own ways; `from_flite` and `from_espeak` bring any name into the inventory. A name that
nobody listed falls back to its nearest class, because a talker with one odd phone is better than no talker.
"""

from typing import NamedTuple


def _labels(names: str) -> frozenset[str]:
    return frozenset(names.split())


def _pairs(table: str) -> dict[str, str]:
    words = table.split()
    return dict(zip(words[::2], words[1::2], strict=True))


VOWELS = _labels("aa ae ah ao aw ax ay eh er ey ih iy ow oy uh uw")
BILABIALS = _labels("b p m")
LABIODENTALS = _labels("f v")
SILENCES = _labels("pau breath")
CONSONANTS = _labels("b ch d dh f g hh jh k l m n ng p r s sh t th v w y z zh")
INVENTORY = VOWELS | CONSONANTS | SILENCES

#: A diphthong is a movement between two vowels: (from, to).
DIPHTHONGS = {
    "aw": ("aa", "uh"),
    "ay": ("aa", "ih"),
    "ey": ("eh", "iy"),
    "ow": ("ao", "uw"),
    "oy": ("ao", "ih"),
}


class Phone(NamedTuple):
    """One sounded (or silent) segment; `start` and `end` in seconds from the start of the audio."""

    label: str
    start: float
    end: float


_FLITE = {
    "axr": "er",
    "dx": "d",
    "el": "l",
    "em": "m",
    "en": "n",
    "hv": "hh",
    "nx": "n",
    "ix": "ih",
    "ux": "uw",
    "ssil": "pau",
    "sil": "pau",
    "h#": "pau",
    "brth": "breath",
    "q": "pau",
}

# Kirshenbaum-like mnemonics of espeak, stress and length marks already removed.
_ESPEAK = _pairs("""
@ ax  a ae  aa ae  A aa  A@ aa  E eh  e eh  I ih  i iy  0 aa  V ah  U uh  u uw  3 er  O ao  o ao  O@ ao
o@ ao  e@ eh  i@ iy  U@ uh  @L l  aI ay  aI@ ay  aI3 ay  eI ey  OI oy  oI oy  aU aw  aU@ aw  oU ow  OU ow
@U ow  3U ow  EI ey  eU ow  AI ay  y uw  Y uh  W uh  OY oy  OE er  Q aa  & ae  Oi oy  ai ay  au aw  ei ey
oi oy  ou ow  iI iy  uU uw  y: uw  @r er  IR er  VR er  D dh  T th  S sh  Z zh  tS ch  dZ jh  ts s  dz z
pf f  N ng  r r  R r  l l  L l  w w  j y  h hh  H hh  x hh  C sh  X hh  B v  P f  t t  d d  k k  g g  G g
p p  b b  m m  n n  f f  v v  s s  z z  c k  J g  Q^ g  * d  ? pau  n^ n  l^ y  t. t  d. d  tS; ch
dZ; jh  S; sh  Z; zh
""")

# By first letter, the class of anything else.
_NEAREST = _pairs("""
a ae  A aa  b b  B v  c k  C sh  d d  D dh  e eh  E eh  f f  F f  g g  G g  h hh  H hh  i iy  I ih  j y
J g  k k  K k  l l  L l  m m  M m  n n  N ng  o ao  O ao  p p  P p  q k  Q aa  r r  R r  s s  S sh  t t
T th  u uw  U uh  v v  V ah  w w  W uh  x hh  X hh  y uw  Y uh  z z  Z zh  @ ax  0 aa  3 er  5 ih  8 ax
& ae
""")


def nearest(name: str) -> str:
    """The label closest to any phone name, judged by its first known letter; silence if there is none."""
    for letter in name:
        if letter in _NEAREST:
            return _NEAREST[letter]
    return "pau"


def from_flite(name: str) -> str:
    """Label of a flite phone name (`pau`, `ax`, `dx`, ...). Never fails."""
    name = name.strip().lower()
    if name in INVENTORY:
        return name
    return _FLITE.get(name) or nearest(name)


def from_espeak(name: str) -> str:
    """Label of an espeak mnemonic (`oU`, `t2`, `e~`, `_:`, ...). Never fails.

    Stress, length, nasalisation and variant marks do not change what the lips do, so they are dropped; the
    longest known beginning of the rest decides.
    """
    if name.startswith("_") or not name.strip():
        return "pau"
    bare = name.strip("',%=|")
    if bare[:1] in "03" and len(bare) > 1:
        bare = bare[0] + bare[1:].rstrip("0123456789")
    elif bare[:1] not in "03":
        bare = bare.rstrip("0123456789#-!")
    bare = bare.replace(":", "").replace("~", "").replace('"', "").replace("#", "").replace("-", "")
    for length in range(len(bare), 0, -1):
        if bare[:length] in _ESPEAK:
            return _ESPEAK[bare[:length]]
    return nearest(bare)
