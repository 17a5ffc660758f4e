"""Letters to phones for the built-in synthesiser: a short list of exceptions, spelling rules, numbers.

It is meant for a lip reader: the consonants and the vowel classes that the mouth shows are right for nearly
every word of `sentences.py`; finer points are not attempted.
"""

import re


def _table(text: str) -> dict[str, list[str]]:
    rows = (entry.split() for entry in text.split("|"))
    return {row[0]: row[1:] for row in rows}


_EXCEPTIONS = _table(
    """
    a ax | the dh ax | of ah v | to t uw | you y uw | do d uw | who hh uw | two t uw | one w ah n |
    once w ah n s | was w aa z | were w er | are aa r | is ih z | his hh ih z | as ae z | have hh ae v |
    has hh ae z | said s eh d | says s eh z | what w aa t | where w eh r | there dh eh r | their dh eh r |
    they dh ey | we w iy | he hh iy | she sh iy | me m iy | be b iy | my m ay | by b ay | why w ay |
    our aw er | your y ao r | could k uh d | would w uh d | should sh uh d | put p uh t | push p uh sh |
    pull p uh l | pushes p uh sh ih z | pushed p uh sh t | pulls p uh l z | pulled p uh l d | so s ow |
    no n ow | go g ow | don't d ow n t | won't w ow n t | that dh ae t | this dh ih s | than dh ae n |
    then dh eh n | with w ih dh | without w ih dh aw t | from f r ah m | some s ah m | come k ah m |
    comes k ah m z | love l ah v | loves l ah v z | loved l ah v d | above ax b ah v | mother m ah dh er |
    father f aa dh er | brother b r ah dh er | other ah dh er | people p iy p ax l | water w ao t er |
    wolf w uh l f | move m uw v | moves m uw v z | moved m uw v d | prove p r uw v | improve ih m p r uw v |
    improves ih m p r uw v z | improved ih m p r uw v d | remove r iy m uw v | removes r iy m uw v z |
    removed r iy m uw v d | soup s uw p | piano p iy ae n ow | women w ih m ih n | busy b ih z iy |
    build b ih l d | builds b ih l d z | built b ih l t | buy b ay | buys b ay z | heavy hh eh v iy |
    bread b r eh d | honey hh ah n iy | money m ah n iy | honest aa n ax s t | honestly aa n ax s t l iy |
    hour aw er | course k ao r s | though dh ow | thought th ao t | bought b ao t | brought b r ao t |
    caught k ao t | caughts k ao t s | through th r uw | rough r ah f | enough ih n ah f | laugh l ae f |
    cough k ao f | know n ow | knows n ow z | eye ay | maybe m ey b iy | engine eh n jh ih n |
    office ao f ih s | river r ih v er | movie m uw v iy | any eh n iy | many m eh n iy | every eh v r iy |
    very v eh r iy | only ow n l iy | over ow v er | open ow p ax n | opens ow p ax n z | opened ow p ax n d
    | never n eh v er | always ao l w ey z | almost ao l m ow s t | I ay | i ay | oh ow | well w eh l |
    we'll w iy l | that's dh ae t s | question k w eh s ch ax n | picture p ih k ch er |
    machine m ax sh iy n | museum m y uw z iy ax m | beautiful b y uw t ax f ax l | view v y uw |
    island ay l ax n d | ocean ow sh ax n | thumb th ah m | wrong r ao ng | whole hh ow l | four f ao r |
    eight ey t
    """
)

# Spelling at the start of the remaining word -> phones. Longer spellings are tried first.
_GRAPHEMES = _table(
    """
    tion sh ax n | sion zh ax n | ture ch er | cious sh ax s | eigh ey | ough ao | augh ao | igh ay | tch ch
    | dge jh | ould uh d | sch s k | ck k | ch ch | sh sh | th th | ph f | wh w | wr r | kn n | gn n |
    qu k w | ng ng | nk ng k | gh g | ps p s | ss s | ff f | ll l | mm m | nn n | pp p | bb b | dd d | tt t
    | rr r | gg g | cc k | zz z | ee iy | ea iy | oo uw | ou aw | ow ow | oi oy | oy oy | ai ey | ay ey |
    oa ow | au ao | aw ao | ie iy | ei ey | ey iy | ew y uw | ue uw | ui uw | eau ow | ar aa r | or ao r |
    er er | ir er | ur er | ear ih r | oor ao r | air eh r | our aw er | all ao l | alk ao k | watch w aa ch
    | wat w aa t | wan w aa n | was w aa s | wash w aa sh | war w ao r | mb m | a ae | b b | c k | d d |
    e eh | f f | g g | h hh | i ih | j jh | k k | l l | m m | n n | o aa | p p | q k | r r | s s | t t |
    u ah | v v | w w | x k s | y iy | z z
    """
)
_LONGEST = max(map(len, _GRAPHEMES))
_LONG = {"a": ["ey"], "e": ["iy"], "i": ["ay"], "o": ["ow"], "u": ["uw"], "y": ["ay"]}
_VOWEL_LETTERS = "aeiouy"

_UNITS = [
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_words(number: int) -> list[str]:
    """English words of 0 to 9999; larger numbers digit by digit."""
    if number < 20:
        return [_UNITS[number]]
    if number < 100:
        return [_TENS[number // 10]] + ([_UNITS[number % 10]] if number % 10 else [])
    if number < 1000:
        return [_UNITS[number // 100], "hundred"] + (number_words(number % 100) if number % 100 else [])
    if number < 10_000:
        return (
            number_words(number // 1000)
            + ["thousand"]
            + (number_words(number % 1000) if number % 1000 else [])
        )
    return [_UNITS[int(digit)] for digit in str(number)]


def word_phones(word: str) -> list[str]:
    """Phones of one word; letters that nobody speaks are skipped, other alphabets give nothing."""
    word = word.lower()
    if word in _EXCEPTIONS:
        return list(_EXCEPTIONS[word])
    letters = re.sub(r"[^a-z]", "", word)
    phones: list[str] = []
    position = 0
    while position < len(letters):
        rest = letters[position:]
        silent_e = re.match(r"([aeiouy])([bcdfgjklmnpqrstvz])e(?=$|s$|d$|r$|ly$)", rest)
        if silent_e:
            vowel, consonant = silent_e.groups()
            phones += _LONG[vowel] + [{"c": "s", "g": "jh", "q": "k"}.get(consonant, consonant)]
            position += 3 if rest[3:] in ("", "ly") or rest[3:] == "s" else 2
            continue
        spelling, sound = _grapheme(letters, position)
        phones += sound
        position += len(spelling)
    return [
        phone if phone not in "cjqxy" else {"j": "jh", "c": "k", "q": "k", "x": "k", "y": "y"}[phone]
        for phone in phones
    ]


def _grapheme(letters: str, position: int) -> tuple[str, list[str]]:
    """The longest spelling at `position` and its phones, with the few rules that look at neighbours."""
    rest, last = letters[position:], position == len(letters) - 1
    following = rest[1:2]
    if rest[0] in "cg" and following and following in "eiy" and rest[:2] not in ("gi", "ge"):
        return rest[0], ["s"] if rest[0] == "c" else ["jh"]
    if rest in ("le", "les", "led") and position and letters[position - 1] not in _VOWEL_LETTERS:
        return rest, ["ax", "l"] + {"les": ["z"], "led": ["d"]}.get(rest, [])
    if rest == "ed" and position > 1:
        return rest, ["ih", "d"] if letters[position - 1] in "td" else ["d"]
    if rest == "e" and position > 1:
        return rest, []
    if rest[0] == "y" and position == 0:
        return "y", ["y"]
    if rest[0] == "s" and last and position and letters[position - 1] in "aeiouybdglmnrvw":
        return "s", ["z"]
    for length in range(min(_LONGEST, len(rest)), 0, -1):
        if rest[:length] in _GRAPHEMES:
            return rest[:length], _GRAPHEMES[rest[:length]]
    return rest[0], []


def text_words(text: str) -> list[tuple[str, list[str]]]:
    """(word, phones) in order; a punctuation mark is a word with the phones `["pau"]`."""
    out: list[tuple[str, list[str]]] = []
    for token in re.findall(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)?|[.,;:!?]", text):
        if token.isdigit():
            out += [(word, word_phones(word)) for word in number_words(int(token))]
        elif token in ".,;:!?":
            out.append((token, ["pau"]))
        else:
            phones = word_phones(token)
            if phones:
                out.append((token, phones))
    return out
