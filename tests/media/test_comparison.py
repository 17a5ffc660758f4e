"""Comparison pictures: what is shown where."""

import numpy as np
import pytest
from make_media import grey_frame, tone

from lipforcing_jax.media.comparison import comparison_frame, contact_sheet, difference_frame, waveform_strip

BACKGROUND = (18, 20, 24)


def wave_height(strip):
    """Rows drawn in each column, apart from the axis in the middle."""
    middle = strip.shape[0] // 2
    drawn = (strip != BACKGROUND).any(axis=-1)
    drawn[middle] = False
    return drawn.sum(axis=0)


def test_waveform_is_high_where_the_sound_is_loud():
    loud = tone(0.5, 16000, amplitude=0.8)[0]
    strip = waveform_strip(np.concatenate([0 * loud, loud, 0.25 * loud, 0 * loud]), 400, 80)
    height = wave_height(strip)
    assert strip.shape == (80, 400, 3) and strip.dtype == np.uint8
    assert (height[:99] == 0).all() and (height[301:] == 0).all()
    assert (height[105:195] > 65).all() and (np.abs(height[205:295] - 18) < 4).all()


@pytest.mark.parametrize("n", [0, 1, 7, 16000])
def test_silence_and_very_short_sound_draw_a_flat_line(n):
    assert (wave_height(waveform_strip(np.zeros(n, np.float32), 100, 40)) == 0).all()


def test_comparison_puts_source_left_and_the_playhead_in_place():
    strip = waveform_strip(tone(1.0, 16000)[0], 128, 32)
    before = strip.copy()
    for position, column in [(0.0, 0), (0.5, 64), (1.0, 127), (1.7, 127)]:
        picture = comparison_frame(grey_frame(50), grey_frame(150), strip, position)
        assert picture.shape == (48 + 32, 128, 3)
        assert (picture[:48, :64] == 50).all() and (picture[:48, 64:] == 150).all()
        yellow = (picture[48:] == (250, 204, 21)).all(axis=(0, 2))
        assert np.flatnonzero(yellow).tolist() == [column]
    assert np.array_equal(strip, before)


def test_comparison_refuses_sizes_that_do_not_fit():
    strip = waveform_strip(np.zeros(10, np.float32), 100, 32)
    with pytest.raises(ValueError, match="do not fit"):
        comparison_frame(grey_frame(1), grey_frame(1), strip, 0)


def test_contact_sheet_holds_every_frame_in_its_row():
    rows = [[grey_frame(60 + 40 * r + 10 * c) for c in range(3)] for r in range(2)]
    sheet = contact_sheet(rows, ["source", "result"], ["0 s", "1 s", "2 s"], cell_width=64)
    places = []
    for r in range(2):
        for c in range(3):
            ys, xs = np.nonzero((sheet == 60 + 40 * r + 10 * c).all(axis=-1))
            inner = sheet[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
            assert len(ys) >= 64 * 48 and inner.shape[0] >= 48
            places.append((np.median(ys), np.median(xs)))
    assert places == sorted(places)


def test_contact_sheet_refuses_uneven_rows():
    with pytest.raises(ValueError, match="equal length"):
        contact_sheet([[grey_frame(1)], []], ["a", "b"])


def test_difference_is_black_where_nothing_changed():
    changed = grey_frame(100)
    changed[:10] = 120
    picture = difference_frame(grey_frame(100), changed, gain=3)
    assert (picture[:10] == 60).all() and not picture[10:].any()
