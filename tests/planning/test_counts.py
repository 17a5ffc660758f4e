"""What a plan counts: operations of traced programs, and traffic in a compiled program's text."""

import jax
import jax.numpy as jnp
import pytest

from lipforcing_jax.planning import estimate, hlo, operations
from lipforcing_jax.planning.plan import used_memory

PRODUCT = 2 * 4 * 8 * 16


def multiply(x, w):
    return x @ w


def repeat(x, w):
    return jax.lax.scan(lambda total, _: (total + multiply(x, w), None), jnp.zeros((4, 16)), None, length=5)[0]


def choose(x, w):
    return jax.lax.cond(x[0, 0] > 0, multiply, lambda x, w: jnp.zeros((4, 16)), x, w)


@pytest.mark.parametrize(
    ("function", "times"), [(multiply, 1), (repeat, 5), (choose, 1), (jax.checkpoint(multiply), 1)]
)
def test_operations(function, times):
    given = jax.ShapeDtypeStruct((4, 8), jnp.float32), jax.ShapeDtypeStruct((8, 16), jnp.float32)
    assert operations.of_traced(jax.jit(function).trace(*given)) == times * PRODUCT


def test_operations_of_a_convolution():
    given = jax.ShapeDtypeStruct((1, 6, 6, 3), jnp.float32), jax.ShapeDtypeStruct((3, 3, 3, 5), jnp.float32)
    convolve = lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))  # noqa: E501,E731
    assert operations.of_traced(jax.jit(convolve).trace(*given)) == 2 * 36 * 5 * 27


def test_what_a_loop_leaves_to_a_later_one():
    """Five turns of 4 x 16 numbers; what nobody reads is not kept."""

    def stack(x, w, read):
        _, kept = jax.lax.scan(lambda total, _: (total, multiply(x, w)), jnp.zeros(()), None, length=5)
        return kept.sum() if read else x

    given = jax.ShapeDtypeStruct((4, 8), jnp.float32), jax.ShapeDtypeStruct((8, 16), jnp.float32)
    found = [estimate.stacked(jax.make_jaxpr(stack, static_argnums=2)(*given, read).jaxpr) for read in (True, False)]
    assert found == [5 * 4 * 16 * 4, 0]


LOOP = """HloModule small

%condition.1 (p: (s32[], bf16[4,8])) -> pred[] {
  %p = (s32[], bf16[4,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] constant(6)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%body.1 (p.1: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %p.1 = (s32[], bf16[4,8]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %x = bf16[4,8]{1,0:T(8,128)} get-tuple-element(%p.1), index=1
  %by = s32[] constant(STEP)
  %next = s32[] add(%i.1, %by)
  %gathered = bf16[16,8]{1,0} all-gather(%x), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  %y = bf16[4,8]{1,0} convolution(%x, %gathered), dim_labels=bf_oi->bf
  ROOT %out = (s32[], bf16[4,8]{1,0}) tuple(%next, %y)
}

ENTRY %main (a: bf16[4,8]) -> (s32[], bf16[4,8]) {
  %a = bf16[4,8]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], bf16[4,8]{1,0}) tuple(%zero, %a)
  ROOT %loop = (s32[], bf16[4,8]{1,0}) while(%start), condition=%condition.1, body=%body.1
}
"""


@pytest.mark.parametrize(("step", "times"), [(1, 6), (2, 3), (4, 2)])
def test_a_loop_s_traffic_counts_as_often_as_it_runs(step, times):
    """A ring of four passes on 3 pieces of 64 bytes; the product reads 64 and 256 and writes 64."""
    found = hlo.traffic(LOOP.replace("STEP", str(step)))
    assert found.sent == {"all-gather": times * 3 * 64} and found.memory == times * (64 + 256 + 64)


@pytest.mark.parametrize(
    ("groups", "size"),
    [("{{0,1,2},{3,4,5}}", 3), ("[4,2]<=[8]", 2), ("mesh['a'=4,'b'=2] {'b'}", 2), ("mesh['a'=4,'b'=2] {'a','b'}", 8)],
)
def test_groups_are_read_however_they_are_written(groups, size):
    assert hlo.group_size(f"replica_groups={groups}, dimensions={{0}}") == size


def test_a_refusal_tells_how_much_was_wanted():
    said = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. Exceeded by 4.75G."
    assert used_memory(said, 2**30) == 20.5 * 2**30
    assert used_memory("INTERNAL: something else", 2**30) is None


def test_a_refusal_that_counts_temporaries_alone_lacks_the_arguments():
    said = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (16.99G) exceeds available HBM (15.75G). HLO module: jit_step."
    )
    assert used_memory(said, 2**30) == pytest.approx(17.99 * 2**30)
