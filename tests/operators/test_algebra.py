"""H, @, c *, +, -, Stack: what they compute, what they refuse, and which data they call measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from operators import OPERATORS, Dense, FromFunctions, Scaled, Stack, dense_matrix

SHAPE = (4, 6)


@pytest.fixture
def parts():
    blur = OPERATORS["blur"](shape=SHAPE, std=0.7)
    mask = OPERATORS["inpaint"](shape=SHAPE, keep=0.5, seed=1)
    small = OPERATORS["downsample"](shape=SHAPE, factor=2)
    return blur, mask, small


def same(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=0)


def test_matrices_follow_the_algebra(parts):
    blur, mask, small = parts
    B, M, S = map(dense_matrix, parts)
    same(dense_matrix(mask @ blur), M @ B)
    same(dense_matrix(small @ mask @ blur), S @ M @ B)
    same(dense_matrix((small @ blur).H), (S @ B).T)
    same(dense_matrix(2.5 * blur), 2.5 * B)
    same(dense_matrix(-blur), -B)
    same(dense_matrix(blur + 0.5 * mask), B + 0.5 * M)
    same(dense_matrix(blur - mask), B - M)
    same(dense_matrix(Stack([small, blur])), torch.cat([S, B]))
    same(dense_matrix(Stack([small, blur]).H), torch.cat([S, B]).T)


def test_scaling_by_zero_solves_as_the_zero_operator(parts):
    zero = 0.0 * parts[0]
    u = torch.randn(2, *SHAPE)
    assert torch.equal(zero.gram_solve(u, 0.0), torch.zeros_like(u))
    rho = torch.tensor([2.0, 4.0])
    torch.testing.assert_close(zero.gram_solve(u, rho), u / rho.view(2, 1, 1))
    assert torch.equal(zero.pinv(u), torch.zeros_like(u))


def test_stack_splits_its_data_back(parts):
    blur, _, small = parts
    stack = Stack([small, blur])
    x = torch.randn(2, 3, *SHAPE)
    first, second = stack.split(stack(x))
    assert torch.equal(first, small(x)) and torch.equal(second, blur(x))
    assert stack.out_shape == (6 + 24,)


def test_measured_comes_from_what_makes_the_data(parts):
    blur, mask, small = parts
    assert blur.measured is None and torch.equal(mask.measured, mask.mask)
    assert torch.equal((mask @ blur).measured, mask.mask)
    assert (blur @ mask).measured is None
    assert torch.equal((3.0 * mask).measured, mask.mask)
    assert (mask + blur).measured is None
    other = OPERATORS["inpaint"](shape=SHAPE, keep=0.3, seed=2)
    assert torch.equal((mask + other).measured, mask.mask | other.mask)
    assert Stack([blur, small]).measured is None
    both = torch.cat([torch.ones(6, dtype=torch.bool), mask.mask.flatten()])
    assert torch.equal(Stack([small, mask]).measured, both)


def test_shapes_that_do_not_fit_are_refused(parts):
    blur, _, small = parts
    with pytest.raises(ValueError, match=r"A @ B: got A that takes \(4, 6\) after B that gives \(2, 3\)"):
        _ = blur @ small
    with pytest.raises(ValueError, match=r"A \+ B: got .*\(2, 3\).*expected equal shapes"):
        _ = blur + small
    with pytest.raises(ValueError, match="Stack: got in_shapes"):
        Stack([blur, OPERATORS["identity"](shape=(5, 5))])
    with pytest.raises(ValueError, match="one or more operators"):
        Stack([])
    with pytest.raises(ValueError, match="scale: got nan"):
        Scaled(float("nan"), blur)
    for wrong in (lambda: blur @ 3.0, lambda: blur + 1.0, lambda: "2" * blur):
        with pytest.raises(TypeError):
            wrong()


def test_arguments_of_another_shape_or_dtype_are_refused(parts):
    blur, _, small = parts
    with pytest.raises(ValueError, match=r"x: got shape \(2, 1, 6, 4\); expected \(..., 4, 6\)"):
        blur(torch.zeros(2, 1, 6, 4))
    with pytest.raises(ValueError, match=r"y: got shape \(4, 6\); expected \(..., 2, 3\)"):
        small.adjoint(torch.zeros(SHAPE))
    with pytest.raises(ValueError, match=r"got shape \(6,\)"):
        blur(torch.zeros(6))
    with pytest.raises(ValueError, match="got dtype torch.int64"):
        blur(torch.zeros(SHAPE, dtype=torch.int64))
    with pytest.raises(ValueError, match="got dtype torch.complex64"):
        blur(torch.zeros(SHAPE, dtype=torch.complex64))
    with pytest.raises(TypeError, match="torch.as_tensor"):
        blur(np.zeros(SHAPE))


@pytest.mark.parametrize("rho", [-1.0, float("nan"), torch.tensor([1.0, -1.0])])
def test_negative_rho_is_refused(parts, rho):
    with pytest.raises(ValueError, match="rho: got .*expected zero or more"):
        parts[0].gram_solve(torch.zeros(2, *SHAPE), rho)


@pytest.mark.parametrize("rho", [torch.ones(3), torch.ones(2, 1), torch.ones(1)])
def test_rho_of_another_shape_is_refused(parts, rho):
    with pytest.raises(ValueError, match=r"rho: got shape .*expected a number, or shape \(\) or \(2,\)"):
        parts[0].gram_solve(torch.zeros(2, *SHAPE), rho)


def test_rho_for_samples_needs_samples(parts):
    with pytest.raises(ValueError, match="rho"):
        parts[0].gram_solve(torch.zeros(SHAPE), torch.ones(4))


def test_operators_from_functions():
    matrix = torch.randn(5, 3, dtype=torch.float64)
    A = FromFunctions((3,), (5,), lambda x: x @ matrix.T, lambda y: y @ matrix)
    same(dense_matrix(A), matrix)
    u = torch.randn(2, 5, dtype=torch.float64)
    exact = Dense(matrix, (3,), (5,)).gram_solve(u, 0.2)
    torch.testing.assert_close(A.gram_solve(u, 0.2), exact, atol=1e-9, rtol=0)
