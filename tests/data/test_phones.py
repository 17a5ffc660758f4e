import pytest

from lipforcing_jax.data.phones import DIPHTHONGS, INVENTORY, from_espeak, from_flite


@pytest.mark.parametrize(
    ("name", "label"), [("pau", "pau"), ("dx", "d"), ("axr", "er"), ("hv", "hh"), ("m", "m"), ("oy", "oy")]
)
def test_flite_names(name, label):
    assert from_flite(name) == label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(("oU", "ow"), ("t2", "t"), ("3:", "er"), ("A:", "aa"), ("_:", "pau"), ("_", "pau"), ("dZ", "jh")),
        *(("0", "aa"), ("I2", "ih"), ("e~", "eh"), ("'aI", "ay"), ("n^", "n"), ("*", "d"), ("@2", "ax")),
    ],
)
def test_espeak_mnemonics(name, label):
    assert from_espeak(name) == label


@pytest.mark.parametrize(
    "name", ["", " ", "zzz9", "qqq", "#", "é", "|||", "E2~:", "P~", "\x00", "kx", 'u"', "123"]
)
def test_any_name_gets_a_label_of_the_inventory(name):
    assert from_espeak(name) in INVENTORY
    assert from_flite(name) in INVENTORY


def test_lip_closures_survive_every_mark():
    for letter in "mbp":
        for mark in ("", ":", "2", "#", ";", "~", "-"):
            assert from_espeak(letter + mark) == letter


def test_diphthongs_move_between_vowels_of_the_inventory():
    assert all({label, *ends} <= INVENTORY for label, ends in DIPHTHONGS.items())
