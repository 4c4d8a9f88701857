"""The rules `data.resize`, bit for bit against the libraries whose rules they are."""

import cv2
import numpy as np
import pytest
import torch
from gesture_files import write_natops
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import functional

from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.data.cater import CaterDecoder
from lamd.data.dataset import DATASETS
from lamd.data.frames import FrameDecoder, resize
from lamd.data.gestures import NATOPS
from lamd.data.listing import FrameFolder

RULES = ("lanczos", "pillow_bilinear", "bilinear", "area")


def picture(height, width):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def by_library(pixels, size, rule):
    """Return `pixels` resized to (width, height) by Pillow, PyTorch or OpenCV."""
    if rule == "area":
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if rule == "bilinear":  # of [0, 1], as cINN's
        values = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double() / 255
        values = interpolate(values, size[::-1], mode="bilinear", align_corners=False)
        return (values * 255)[0].permute(1, 2, 0).numpy()
    filters = {"lanczos": Image.Resampling.LANCZOS, "pillow_bilinear": Image.Resampling.BILINEAR}
    return np.asarray(Image.fromarray(pixels).resize(size, filters[rule]))


@pytest.mark.parametrize("size", [(32, 32), (21, 16), (120, 90)])
@pytest.mark.parametrize("rule", RULES)
def test_resize_equals_the_library_of_the_rule(rule, size):
    pixels = picture(72, 128)
    resized, expected = resize(Image.fromarray(pixels), size, rule), by_library(pixels, size, rule)
    if rule == "bilinear":  # not rounded: halves may go either way
        assert np.abs(np.asarray(resized) - expected).max() < 0.5 + 1e-4
    else:
        np.testing.assert_array_equal(resized, expected)


def test_resize_rules_differ():
    image = Image.fromarray(picture(72, 128))
    assert len({resize(image, (32, 32), rule).tobytes() for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES[1:])
def test_frame_decoder_resizes_the_whole_jpeg_at_full_size(tmp_path, rule):
    names = [f"{n}.jpg" for n in range(2)]
    for name in names:
        Image.fromarray(picture(72, 128)).save(tmp_path / name, quality=95)
    video = FrameFolder(key="k", path=tmp_path, frames=tuple(names))
    frames = FrameDecoder(16, 2, resize=rule)(video)
    full = np.asarray(Image.open(tmp_path / names[0]))
    assert np.abs(frames[0] - by_library(full, (16, 16), rule).astype(float)).max() <= 0.5 + 1e-4


def test_frame_decoder_letterboxes_natops_as_lfdm_does(tmp_path):
    folder = write_natops(tmp_path, "g01s03p01", 2, (320, 240))
    paths = sorted(folder.iterdir())
    pixels = picture(240, 320)
    for path in paths:
        Image.fromarray(pixels).save(path)
    video = FrameFolder(key="k", path=folder, frames=tuple(path.name for path in paths))
    frames = FrameDecoder(128, 2, NATOPS.crop, "area")(video)
    # rows 10-239 and columns 30-290 to 128 x int(229 * 128 / 260), 8 black rows above and below
    inner = cv2.resize(pixels[10:239, 30:290], (128, 112), interpolation=cv2.INTER_AREA)
    expected = cv2.copyMakeBorder(inner, 8, 8, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    np.testing.assert_array_equal(frames[1], expected)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (128, 128), (90, 64)])
def test_cater_decoder_scales_the_shorter_side_as_torchvision_does(height, width):
    image = Image.fromarray(picture(height, width))
    square = CaterDecoder(64, 4, 2, "interval", "pillow_bilinear").square(image)
    expected = functional.center_crop(functional.resize(image, 64), [64, 64])
    np.testing.assert_array_equal(square, expected)


@pytest.mark.parametrize(
    ("target", "rule"),
    [("table_landscape", "pillow_bilinear"), ("table_cater_v1", "pillow_bilinear"),
     ("table_cater_v2", "pillow_bilinear"), ("table_mug", "area"), ("table_natops", "area"),
     ("table_bair", None)],
)  # fmt: skip
def test_config_paper_profile_has_the_rule_of_the_published_methods(target, rule):
    data = load_target(target, "paper").data
    assert data.own.get("resize") == rule == DATASETS[data.name].published_options.get("resize")
    assert "resize" not in load_target(target, "quick").data.own


@pytest.mark.parametrize(
    ("profile", "override"), [("paper", "data.resize=null"), ("quick", "data.resize=area")]
)
def test_config_resize_goes_with_real_data_only(profile, override):
    with pytest.raises(LamdError, match="resize is needed with source: real, and only there"):
        load_target("table_landscape", profile, [override])


def test_read_image_takes_the_rule_of_the_data(tmp_path):
    pixels = picture(72, 128)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    own = load_target("table_landscape", "paper").data.own
    image = DATASETS["landscape"].read_image(tmp_path / "x.png", 32, **own)
    np.testing.assert_array_equal(image, by_library(pixels, (32, 32), "pillow_bilinear"))
