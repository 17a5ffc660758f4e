"""Sentences to be spoken: an endless, deterministic supply with disjoint training and held-out sets.

The split is a property of the sentence itself: a hash of its words sends one sentence in five to the held-out
set, whatever seed produced it. So no sentence can occur in both sets.
"""

import hashlib

import numpy as np

SPLITS = ("train", "heldout")
HELDOUT_SHARE = 5


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split("|")]


NOUNS = _words(
    """
    table window garden river mountain teacher doctor farmer neighbour puppy market bridge kitchen
    pocket basket blanket summer winter morning evening weather village picture camera paper letter
    number problem answer question mother father brother sister baby bottle pepper apple peach pumpkin
    button ribbon hammer ladder saddle camel rabbit beaver wolf fox whale robin falcon pony boat ship
    wagon truck engine wheel rope broom mop mirror lamp piano guitar trumpet violin song melody poem
    story chapter movie theatre museum office factory company computer program message meeting project
    budget report system method machine battery voice mouth finger shoulder thumb valley forest meadow
    beach wave storm thunder shadow moon planet rocket map compass island harbour lighthouse coffee
    water butter bread soup honey mushroom tomato potato cabbage
    """
)
VERBS = _words(
    """
    makes moves opens closes paints follows finds watches builds carries borrows remembers forgets
    visits describes improves measures mentions prefers promises protects repairs removes supports
    surprises welcomes wraps washes pushes pulls throws catches buys sells brings shows keeps loves
    believes imagines compares explains explores polishes balances examines
    """
)
PAST = _words(
    """
    made moved opened closed painted followed found watched built carried borrowed remembered forgot
    visited described improved measured mentioned preferred promised protected repaired removed
    supported surprised welcomed wrapped washed pushed pulled threw caught bought sold brought showed
    kept loved imagined compared explained
    """
)
BASES = _words(
    """
    make move open close paint follow find watch build carry borrow remember forget visit describe
    improve measure mention prefer protect repair remove support surprise welcome wrap wash push pull
    throw catch buy sell bring show keep love believe imagine compare explain
    """
)
ADJECTIVES = _words(
    """
    small big wooden purple yellow orange warm cold empty heavy quiet noisy beautiful famous foolish
    brave clever gentle honest modern ancient broken simple simpler perfect possible important expensive
    comfortable wonderful terrible smooth rough silver golden wide narrow empty busy lazy happy unhappy
    mysterious friendly early favourite ordinary
    """
)
ADVERBS = _words(
    """
    slowly quickly carefully quietly maybe probably finally usually always never almost suddenly
    perfectly together yesterday tomorrow tonight anyway
    """
)
PLACES = _phrases(
    """
    in the park | near the river | above the valley | behind the museum | under the bridge | at home |
    on the beach | from the office | by the harbour | inside the theatre | over the mountain |
    around the village | between the trees | before breakfast | after the meeting | without a map |
    for a while | every Monday | on Wednesday evening | this summer | in the middle of February
    """
)
NAMES = _words(
    """
    Emma Bob Oliver Maya Peter Fatima Wolfgang Beatrice Thomas Victoria Pamela Hugo Naomi Philip Barbara
    Matthew Vivian Abraham Phoebe Walter
    """
)
OPENERS = _phrases(
    """
    Well | You know | Of course | Honestly | To be fair | As far as I know | By the way | I mean |
    In my opinion | First of all | On the other hand | What I want to say is that | It seems to me that |
    People often say that | I think | Believe me | So | But | And | Now
    """
)
SHORT = _phrases(
    """
    Maybe. | Of course! | Good morning. | Why not? | Thank you very much. | What a beautiful view! |
    Please wait a moment. | I have no idea. | Give me five minutes. | Oh my, that was wonderful. |
    Who would have thought? | No problem at all. | We'll see about that. | How are you? | Absolutely. |
    Never mind. | That's amazing! | Come over here.
    """
)
SUBJECTS = _words("I we you they")
MONTHS = _words(
    """
    January February March April May June July August September October November December
    """
)


def _pick(rng: np.random.Generator, words: list[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _noun_phrase(rng: np.random.Generator) -> str:
    if rng.random() < 0.2:
        return _pick(rng, NAMES)
    article = _pick(rng, ["the", "the", "a", "my", "our", "this", "every", "that", "her", "his"])
    adjective = _pick(rng, ADJECTIVES) if rng.random() < 0.55 else ""
    noun = _pick(rng, NOUNS)
    head = adjective or noun
    if article == "a" and head[0] in "aeiou":
        article = "an"
    return " ".join(word for word in (article, adjective, noun) if word)


def _statement(rng: np.random.Generator) -> str:
    verb = _pick(rng, VERBS if rng.random() < 0.5 else PAST)
    parts = [_noun_phrase(rng), verb, _noun_phrase(rng)]
    if rng.random() < 0.3:
        parts.insert(1, _pick(rng, ADVERBS))
    if rng.random() < 0.5:
        parts.append(_pick(rng, PLACES))
    return " ".join(parts)


def _personal(rng: np.random.Generator) -> str:
    modal = _pick(
        rng, ["want to", "have to", "used to", "would never", "could always", "might", "will", "don't"]
    )
    return f"{_pick(rng, SUBJECTS)} {modal} {_pick(rng, BASES)} {_noun_phrase(rng)} {_pick(rng, PLACES)}"


def _question(rng: np.random.Generator) -> str:
    frame = _pick(
        rng, ["why would", "how could", "when did", "where did", "what if", "who said", "could", "would"]
    )
    if frame in ("what if", "who said"):
        return f"{frame} {_statement(rng)}"
    return f"{frame} {_noun_phrase(rng)} {_pick(rng, BASES)} {_noun_phrase(rng)}"


def _numbers(rng: np.random.Generator) -> str:
    kind = int(rng.integers(4))
    if kind == 0:
        return (
            f"it happened on {_pick(rng, MONTHS)} {int(rng.integers(1, 29))}, {int(rng.integers(1800, 2030))}"
        )
    if kind == 1:
        dollars, cents = int(rng.integers(2, 990)), int(rng.integers(2, 99))
        return f"the {_pick(rng, NOUNS)} costs {dollars} dollars and {cents} cents"
    if kind == 2:
        share = int(rng.integers(2, 99))
        return f"about {share} percent of the {_pick(rng, NOUNS)}s were {_pick(rng, ADJECTIVES)}"
    digits = " ".join(str(int(digit)) for digit in rng.integers(0, 10, 6))
    return f"please call {digits} before {int(rng.integers(2, 12))}"


def _draw(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.06:
        return _pick(rng, SHORT)
    if kind < 0.20:
        text, end = _question(rng), "?"
    elif kind < 0.30:
        text, end = _numbers(rng), "."
    elif kind < 0.48:
        text, end = _personal(rng), _pick(rng, [".", ".", "!"])
    elif kind < 0.70:
        text, end = (
            f"{_statement(rng)}, {_pick(rng, ['and', 'but', 'because', 'so', 'while'])} {_statement(rng)}",
            ".",
        )
    else:
        text, end = _statement(rng), "."
    if rng.random() < 0.25:
        text = f"{_pick(rng, OPENERS)}, {text}"
    return text[0].upper() + text[1:] + end


def split_of(text: str) -> str:
    """Which set a sentence belongs to: `"train"` or `"heldout"`. Capitals and punctuation do not count."""
    words = "".join(c for c in text.lower() if c.isalnum() or c == " ").split()
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return "heldout" if digest[0] % HELDOUT_SHARE == 0 else "train"


def sentence(seed: int, split: str = "train") -> str:
    """The `seed`-th sentence of a set: the same text for the same arguments, always.

    Args:
        seed: any non-negative integer.
        split: `"train"` or `"heldout"`.
    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    rng = np.random.default_rng([seed, SPLITS.index(split), 0x5E17])
    while True:
        text = _draw(rng)
        if split_of(text) == split:
            return text
