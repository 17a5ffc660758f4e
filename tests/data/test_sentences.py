import pytest

from lipforcing_jax.data.letters import number_words, text_words, word_phones
from lipforcing_jax.data.phones import INVENTORY
from lipforcing_jax.data.sentences import sentence, split_of


def test_same_seed_same_sentence():
    assert [sentence(i) for i in range(50)] == [sentence(i) for i in range(50)]


def test_splits_are_disjoint():
    train = {sentence(i, "train") for i in range(4000)}
    heldout = {sentence(i, "heldout") for i in range(2000)}
    assert not train & heldout
    assert len(train) > 3000 and len(heldout) > 1200
    assert {split_of(text) for text in train} == {"train"}
    assert {split_of(text) for text in heldout} == {"heldout"}


def test_split_ignores_capitals_and_punctuation():
    assert split_of("Why not?") == split_of("why NOT!")


def test_vocabulary_and_lengths_vary():
    texts = [sentence(i) for i in range(3000)]
    words = {word.strip(".,!?").lower() for text in texts for word in text.split()}
    lengths = {len(text.split()) for text in texts}
    assert len(words) > 500
    assert min(lengths) <= 2 and max(lengths) >= 18
    assert any("?" in text for text in texts) and any(c.isdigit() for text in texts for c in text)


def test_unknown_split():
    with pytest.raises(ValueError, match="split"):
        sentence(0, "test")


def test_every_word_can_be_sounded():
    for i in range(500):
        for word, phones in text_words(sentence(i)):
            assert phones and set(phones) <= INVENTORY, word


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("mop", "m aa p"),
        ("ship", "sh ih p"),
        ("table", "t ae b ax l"),
        ("moves", "m uw v z"),
        ("watch", "w aa ch"),
        ("rope", "r ow p"),
        ("fishing", "f ih sh ih ng"),
        ("pepper", "p eh p er"),
    ],
)
def test_letter_to_sound(word, phones):
    assert word_phones(word) == phones.split()


def test_numbers_are_read():
    assert number_words(309) == ["three", "hundred", "nine"]
    assert number_words(1973) == ["one", "thousand", "nine", "hundred", "seventy", "three"]
    assert number_words(40) == ["forty"]
    assert len(number_words(123456)) == 6
