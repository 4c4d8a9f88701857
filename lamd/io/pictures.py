"""Pictures, read as the format that their name states, within bounds."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from lamd.base.errors import LamdError
from lamd.base.files import input_file
from lamd.io.native import stderr_hidden

FORMATS = {
    ".bmp": "BMP", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".ppm": "PPM", ".tif": "TIFF",
    ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip
MOST_BYTES = 2**28  # of a file; of its pixels Pillow's own bound, 89 million
_MODES = {"RGB", "L", "P", "1"}  # of pixels that RGB holds
_LOSSLESS_TIFF = {
    "raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd",
    "tiff_ccitt", "group3", "group4",
}  # fmt: skip
# Pillow only warns from its bound to twice as many pixels, and of damaged metadata. For the whole
# process, since threads read pictures and `catch_warnings` is not theirs alone.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@contextmanager
def open_picture(path: Path, file: BytesIO | None = None) -> Iterator[Image.Image]:
    """Open a picture for reading in the body, as the format that the name of `path` states.

    `file` is the content, in place of that of `path`. OSError when it is broken or cannot be read,
    ValueError when it is of another format or too large.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"suffix {path.suffix!r}, not one of {', '.join(FORMATS)}")
    if input_file(path).stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES:,} bytes")
    # libtiff writes to stderr
    with stderr_hidden() if kind == "TIFF" else nullcontext():
        try:
            with Image.open(file or path, formats=[kind]) as image:
                yield image
        except Image.UnidentifiedImageError:
            raise ValueError(f"not a {kind}") from None
        except (OSError, ValueError, LamdError):
            raise
        except Exception as error:  # a damaged picture can raise nearly anything
            raise OSError(" ".join(str(error).split()) or type(error).__name__) from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an image in RGB, turned as EXIF says; ValueError if RGB cannot hold its pixels."""
    if image.mode not in _MODES:
        raise ValueError(f"pixels are {image.mode}, not 8-bit RGB")
    if "transparency" in image.info and min(image.convert("RGBA").getchannel("A").tobytes()) < 255:
        raise ValueError("pixels are transparent, which RGB cannot hold")
    ImageOps.exif_transpose(image, in_place=True)
    return image.convert("RGB")


def read_picture(path: Path) -> Image.Image:
    """Read a picture as it is shown, its EXIF orientation applied, in RGB.

    LamdError when it is unreadable or too large, holds several pictures, has pixels that RGB
    cannot hold, or is a TIFF that is compressed with loss.
    """
    try:
        with open_picture(path) as image:
            compression = image.info.get("compression", "raw")
            if image.mode not in _MODES:
                raise LamdError(f"{path}: pixels are {image.mode}; save it as 8-bit RGB")
            several = getattr(image, "is_animated", False)
            if several and image.format != "MPO":  # a phone's JPEG and its preview
                raise LamdError(f"{path}: holds several pictures; save each as its own file")
            if image.format == "TIFF" and compression not in _LOSSLESS_TIFF:
                raise LamdError(f"{path}: a TIFF with {compression} compression; save it as PNG")
            return upright_rgb(image)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:80]
        raise LamdError(f"{path}: not a readable image ({reason}); write it again") from None
