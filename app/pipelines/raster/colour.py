"""How the bands of a raster are colours, as the tags PhotometricInterpretation and ExtraSamples of a TIFF say it.

GDAL also keeps colours in its metadata; all other readers have those two tags only.
"""

from __future__ import annotations

from app.pipelines.raster.source import RasterSource

_RGB = ["red", "green", "blue"]
# Values of ExtraSamples.
_PLAIN, _PREMULTIPLIED, _ALPHA = 0, 1, 2
_VALUES = {"MINISWHITE": 0, "MINISBLACK": 1, "RGB": 2, "PALETTE": 3}


def photometric(source: RasterSource) -> str:
    """GDAL's name of the PhotometricInterpretation."""
    if source.colours is not None:
        return "PALETTE"
    if source.white_is_zero:
        return "MINISWHITE"
    return "RGB" if [band.interpretation for band in source.bands[:3]] == _RGB else "MINISBLACK"


def creation_options(source: RasterSource) -> dict[str, str]:
    """Options of GDAL's GTiff driver for these colours."""
    extra = extra_samples(source)
    options = {"PHOTOMETRIC": photometric(source)}
    if extra and not any(extra):
        return options | {"ALPHA": "NO"}
    if extra and extra[0] != _PLAIN:  # the option is about the first of them; GDAL finds a later one by its band
        return options | {"ALPHA": "PREMULTIPLIED" if source.premultiplied else "YES"}
    return options


def photometric_value(source: RasterSource) -> int:
    """The value of PhotometricInterpretation."""
    return _VALUES[photometric(source)]


def extra_samples(source: RasterSource) -> tuple[int, ...]:
    """The values of ExtraSamples: one for each band after the colours."""
    alpha = _PREMULTIPLIED if source.premultiplied else _ALPHA
    after = 3 if photometric(source) == "RGB" else 1
    return tuple(alpha if band.interpretation == "alpha" else _PLAIN for band in source.bands[after:])


def is_guessed_wrong(source: RasterSource) -> bool:
    """Whether GDAL's COG driver, which has no option for colours, would guess others.

    It takes three and four bands of bytes for RGB and RGBA, a second band beside a colour table for alpha, and knows
    neither white that is zero nor premultiplied alpha.
    """
    kind, extra = photometric(source), extra_samples(source)
    if kind == "MINISWHITE" or source.premultiplied:
        return True
    if kind == "PALETTE":
        return _PLAIN in extra
    return source.dtype == "uint8" and kind == "MINISBLACK" and len(source.bands) in (3, 4)
