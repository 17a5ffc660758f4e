"""A module that is written comes back; what one function declares is declared once."""

import numpy as np
from flax import nnx

from lipforcing_jax.weights import store


def test_modules_of_one_declaration_have_their_own_weights(tmp_path):
    declared = []

    def make() -> nnx.Linear:
        declared.append("once")
        return nnx.Linear(2, 3, rngs=nnx.Rngs(0))

    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((2, 2, 3)).astype(np.float32)
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for path, kernel in zip(paths, kernels, strict=True):
        module = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        module.kernel[...] = kernel
        store.save_module(path, module)
    found = [store.load_module(path, make) for path in paths]
    assert declared == ["once"]
    found[0].bias[...] = np.ones(3, np.float32)
    for module, kernel in zip(found, kernels, strict=True):
        np.testing.assert_array_equal(module.kernel[...], kernel)
    np.testing.assert_array_equal(found[1].bias[...], np.zeros(3))
