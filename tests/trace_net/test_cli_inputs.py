"""`--input`: what is drawn, what is loaded, and what is refused."""

import numpy as np
import pytest

from trace_net.errors import UsageError
from trace_net.inputs import DTYPES, parse_inputs


@pytest.mark.parametrize(("code", "dtype"), DTYPES.items())
def test_every_dtype(code, dtype):
    (array,) = parse_inputs([f"x={code}[2, 3]"]).values()
    assert array.dtype == dtype
    assert array.shape == (2, 3)


def test_a_scalar_and_an_empty_array():
    arrays = parse_inputs(["s=f32[]", "e=f32[0,4]"])
    assert arrays["s"].shape == ()
    assert arrays["e"].shape == (0, 4)


def test_integers_stay_below_the_bound():
    (array,) = parse_inputs(["x=i64[1000]<7"]).values()
    assert set(np.unique(array)) == set(range(7))


def test_the_same_words_give_the_same_numbers():
    first, second = parse_inputs(["x=f32[9]"]), parse_inputs(["x=f32[9]"])
    np.testing.assert_array_equal(first["x"], second["x"])


def test_files(folder):
    np.save("one.npy", np.arange(3))
    np.savez("two.npz", x=np.arange(4), y=np.arange(5))
    arrays = parse_inputs(["a=@one.npy", "y=@two.npz"])
    np.testing.assert_array_equal(arrays["a"], np.arange(3))
    np.testing.assert_array_equal(arrays["y"], np.arange(5))


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["x"], "expects NAME=DTYPE"),
        (["=f32[2]"], "expects NAME=DTYPE"),
        (["x=f32"], "expects NAME=DTYPE"),
        (["x=f32[-1]"], "expects NAME=DTYPE"),
        (["x=c64[2]"], "unknown dtype 'c64'"),
        (["x=f32[2]<3"], "bounds a float"),
        (["x=i64[2]<0"], "cannot be drawn"),
        (["x=u8[2]<1000"], "cannot be drawn"),
        (["x=f32[99999999999999999999]"], "cannot be drawn"),
        (["x=f32[1]", "x=f32[1]"], "'x' twice"),
        (["x=@missing.npy"], "no file 'missing.npy'"),
        (["x=@text.npy"], "not an .npy"),
        (["x=@objects.npy"], "not an .npy"),
        (["z=@two.npz"], "holds x, y but no 'z'"),
    ],
)
def test_refused(folder, specs, message):
    (folder / "text.npy").write_text("1 2 3")
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez("two.npz", x=np.arange(4), y=np.arange(5))
    with pytest.raises(UsageError, match=message) as raised:
        parse_inputs(specs)
    assert raised.value.hint
