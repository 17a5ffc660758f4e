"""A generated mouth gets the detail of the mouth it resembles, of those that the source showed some time ago."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.sampling import recall

SIZE, FRAMES = 64, 4
MOUTH = np.s_[:, :, 32:64, 12:52]


def random_frames(seed: int, low: float, high: float) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), (1, FRAMES, SIZE, SIZE, 3), minval=low, maxval=high)


def chunk(seed: int) -> tuple[jax.Array, jax.Array]:
    """What the decoder draws of a chunk of the source, and the source; frames that are not remembered repeat the one
    before, others resemble each other in nothing."""
    once = lambda frames: jnp.repeat(frames[:, :: recall.STRIDE], recall.STRIDE, axis=1)  # noqa: E731
    drawn = once(random_frames(seed, 0.3, 0.7))
    return drawn, drawn + once(random_frames(1000 + seed, -0.2, 0.2))


def memory_of(chunks) -> recall.Mouths:
    mouths = recall.mouths_of(1, FRAMES, SIZE)
    for drawn, source in chunks:
        mouths = recall.remember(mouths, drawn, source)
    return mouths


@pytest.fixture(scope="module")
def chunks():
    return [chunk(k) for k in range(recall.CHUNKS + 2)]


@pytest.fixture(scope="module")
def recalled():
    return jax.jit(recall.recall)


def lost(chunk) -> np.ndarray:
    drawn, source = chunk
    return np.asarray(source - drawn)


def test_a_mouth_seen_before_gets_its_own_detail(chunks, recalled):
    found = recalled(memory_of(chunks[:3]), chunks[0][0][:, ::-1])
    np.testing.assert_allclose(found[MOUTH], lost(chunks[0])[:, ::-1][MOUTH], atol=0.01)


def test_nothing_is_added_outside_the_mouth(chunks, recalled):
    found = np.array(recalled(memory_of(chunks[:3]), chunks[0][0]))
    found[MOUTH] = 0
    np.testing.assert_array_equal(found, 0)


def test_a_paler_and_darker_mouth_is_the_same_mouth(chunks, recalled):
    found = recalled(memory_of(chunks[:3]), 0.1 + 0.5 * chunks[0][0])
    # The fainter a pattern, the larger the share of what counts as noise in it: here some 7 % of at most 0.2.
    np.testing.assert_allclose(found[MOUTH], lost(chunks[0])[MOUTH], atol=0.015)


def likeness(found, chunk) -> float:
    return np.corrcoef(found[MOUTH].ravel(), lost(chunk)[MOUTH].ravel())[0, 1]


@pytest.mark.parametrize("near", [1, 2])
def test_the_chunk_that_is_drawn_and_the_one_before_are_not_recalled(chunks, recalled, near):
    """Their lips say what the source says now."""
    before = np.asarray(recalled(memory_of(chunks[:3]), chunks[near][0]))
    after = np.asarray(recalled(memory_of(chunks[: 3 + near]), chunks[near][0]))
    assert likeness(before, chunks[near]) < 0.1
    assert likeness(after, chunks[near]) > 0.99


@pytest.mark.parametrize("seen", [1, 2])
def test_a_clip_begins_with_its_first_chunk(chunks, recalled, seen):
    found = recalled(memory_of(chunks[:seen]), chunks[0][0])
    # Some 1 % of these patterns counts as noise, which the power makes 8 % of at most 0.2.
    np.testing.assert_allclose(found[MOUTH], lost(chunks[0])[MOUTH], atol=0.018)
    assert likeness(np.asarray(recalled(memory_of(chunks[:2]), chunks[1][0])), chunks[1]) < 0.1


def test_what_is_near_must_resemble_it_more(chunks, recalled):
    """Two memories that both know the first chunk alone."""
    alike = 0.8
    other = random_frames(77, 0.3, 0.7)
    mixed = 0.5 + alike * (chunks[0][0] - 0.5) + np.sqrt(1 - alike**2) * (other - 0.5)
    near, far = (np.asarray(recalled(memory_of(chunks[:seen]), mixed))[MOUTH] for seen in (2, 3))
    weaker = alike ** (recall.NEAR_STRICT - recall.STRICT)
    assert np.abs(near).mean() / np.abs(far).mean() == pytest.approx(weaker, rel=0.1)
    assert np.abs(far).mean() > 0.2 * np.abs(lost(chunks[0])[MOUTH]).mean()


def test_the_oldest_chunk_is_forgotten(chunks, recalled):
    last = recall.CHUNKS
    kept, gone = (np.asarray(recalled(memory_of(chunks[: last + k]), chunks[0][0])) for k in (0, 1))
    np.testing.assert_allclose(kept[MOUTH], lost(chunks[0])[MOUTH], atol=0.01)
    assert np.abs(gone).max() < 0.1 * np.abs(kept).max()


def test_a_mouth_like_none_gets_little(chunks, recalled):
    strange = recalled(memory_of(chunks[:3]), random_frames(77, 0.3, 0.7))
    assert np.abs(strange).mean() < 0.1 * np.abs(lost(chunks[0])[MOUTH]).mean()


def test_skin_without_a_pattern_gets_nothing(chunks, recalled):
    np.testing.assert_array_equal(recalled(memory_of(chunks[:3]), jnp.full((1, FRAMES, SIZE, SIZE, 3), 0.5)), 0)


def test_a_new_clip_knows_nothing_of_the_last(chunks, recalled):
    after = lambda mouths: recalled(recall.remember(mouths, *chunk(99)), chunks[-3][0])  # noqa: E731
    forgotten, kept = (recall.forgotten(memory_of(chunks), jnp.asarray(new)) for new in (True, False))
    np.testing.assert_array_equal(after(forgotten), after(memory_of([])))
    assert likeness(np.asarray(after(kept)), chunks[-3]) > 0.99


def test_clips_of_a_batch_have_memories_of_their_own(chunks, recalled):
    pairs = [tuple(map(jnp.concatenate, zip(chunks[k], chunks[k + 3], strict=True))) for k in range(3)]
    mouths = recall.mouths_of(2, FRAMES, SIZE)
    for drawn, source in pairs:
        mouths = recall.remember(mouths, drawn, source)
    found = recalled(mouths, pairs[0][0])
    np.testing.assert_allclose(found[1:][MOUTH], lost(chunks[3])[MOUTH], atol=0.01)


@pytest.mark.parametrize(("frames", "size"), [(FRAMES, 40), (3, SIZE)])
def test_a_face_that_makes_no_cells_is_refused(frames, size):
    with pytest.raises(ValueError, match="16 cells"):
        recall.mouths_of(1, frames, size)
