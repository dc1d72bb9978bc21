"""Messages about rasters."""

from __future__ import annotations

from app.messages.message import Notice, Refusal

# Content

FORMAT_NOT_RASTER = Refusal(
    "format_not_raster",
    "a raster pipeline gets a file of another type",
    "{file} is declared as {type} {format}, but this intent takes raster files.",
    "Use an intent for that type of file.",
)
FILE_UNREADABLE = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} cannot be read. GDAL reports: {problem}.",
    "Upload the file again; `gdalinfo -checksum` should read it to its end.",
)
HDF5_DAMAGED = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} cannot be read: its HDF5 structure is damaged.",
    "Upload the file again; `h5dump -H` should read it.",
)
HDF5_TRUNCATED = Refusal(
    "file_truncated",
    "a file ends too early",
    "{file} is truncated: it is shorter than its HDF5 header requires.",
    "Upload the file again.",
)
NETCDF_HEADER_DAMAGED = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} cannot be read: in its netCDF header, {problem}.",
    "Upload the file again; `ncdump -h` should read it.",
)
COLOUR_TABLE_MISSING = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} declares a palette band, but has no colour table.",
    "Write it again, with its colour table or as plain numbers.",
)
EXTERNAL_DATA = Refusal(
    "external_data",
    "a netCDF-4 file refers to other files",
    "{file}: {item} takes its values from another file.",
    "Make a file that contains all its data, for example with `nccopy` or `h5repack`.",
)
LAYER_AMBIGUOUS = Refusal(
    "layer_ambiguous",
    "a source has several layers or rasters, and files[].layer names none of them",
    "{file} has {layers:# raster|# rasters}: {names}.",
    "Name one of them in files[].layer.",
)
NO_RASTER = Refusal(
    "layer_unknown",
    "files[].layer names a layer that the source does not have, or a file contains no raster",
    "{file} contains no raster.",
    "Upload a file that contains one.",
)
TAGS_TOO_LARGE = Refusal(
    "tags_too_large",
    "the tags of a raster are larger than the limit",
    "{file} has tags of {size:# character|# characters}, the limit is {limit}.",
    "Remove the large ones (`gdal_edit.py -unsetmd`).",
)
COG_LAYOUT = Notice(
    "cog_layout",
    "a file declared as COG is a GeoTIFF of another layout",
    "Read {file} as a plain GeoTIFF: it is declared as COG, but has another layout.",
)
TAGS_NOT_UTF8 = Notice(
    "tags_not_utf8",
    "tags that are not UTF-8 text",
    "Dropped {count:# tag|# tags} of {file}: not UTF-8 text.",
)
COLOUR_TABLE_ALPHA = Notice(
    "colour_table_alpha",
    "a colour table has transparent colours, which a GeoTIFF cannot store",
    "Stored the colour table of {file} without its transparency, which GeoTIFF cannot hold. All colours are in "
    "statistics.bands.",
)

# Sizes and types

BANDS_TOO_MANY = Refusal(
    "bands_too_many",
    "a raster has more bands than the limit",
    "{file} has {bands:# band|# bands}, the limit is {limit}.",
    "Split the bands into several files, or raise SPATIAL_ETL_LIMITS__BANDS.",
)
PIXELS_TOO_MANY = Refusal(
    "pixels_too_many",
    "a raster, a mosaic or the result of a warp has more pixels than the limit",
    "{raster} has {width} x {height} pixels in {bands:# band|# bands}, {pixels} in total; the limit is {limit}.",
    "Split it, or raise SPATIAL_ETL_LIMITS__PIXELS.",
)
DTYPE_NOT_SUPPORTED = Refusal(
    "dtype_not_supported",
    "pixels are complex numbers, of another type in each band, or 64-bit integers to warp",
    "{file} has pixels of type {types}. All bands must have one real number type.",
    "Split complex numbers into two bands, and bands of several types into several files.",
)
DTYPE_NOT_WARPED = Refusal(
    "dtype_not_supported",
    "pixels are complex numbers, of another type in each band, or 64-bit integers to warp",
    "{file} has pixels of type {dtype}, which GDAL warps through floats that cannot hold them.",
    "Remove options.warp, or use 32-bit integers.",
)
NODATA_DIFFERS = Refusal(
    "nodata_differs",
    "the bands of a raster have different nodata values",
    "The bands of {file} have different nodata values: {values}. A GeoTIFF has one for all.",
    "Use one nodata value in all bands, or upload the bands as several files.",
)
NODATA_IMPOSSIBLE = Notice(
    "nodata_impossible",
    "the nodata value cannot occur in the data type",
    "Ignored the nodata value {value} of {file}: it cannot occur in {dtype}.",
)

# Location

GEOREFERENCE_CONFLICT = Refusal(
    "georeference_conflict",
    "a raster and its world file have different geotransforms",
    "{file} has the geotransform {inside}, its world file {world_file} has {beside}.",
    "Remove the wrong one.",
)
GEOREFERENCE_MISSING = Refusal(
    "georeference_missing",
    "a raster has neither a geotransform nor a world file, or its pixels have no area",
    "{file} is not georeferenced: it has no geotransform and no world file.",
    "Upload its world file (.wld, .pgw, .jgw, .tfw) beside it, or georeference it.",
)
GEOREFERENCE_WITHOUT_AREA = Refusal(
    "georeference_missing",
    "a raster has neither a geotransform nor a world file, or its pixels have no area",
    "{file} has the geotransform {transform}, which gives its pixels no area.",
    "Georeference it again.",
)
GEOREFERENCE_NOT_AFFINE = Refusal(
    "georeference_not_affine",
    "a raster is georeferenced by control points, RPCs or coordinate arrays only",
    "{file} is georeferenced only by {method}, not by a geotransform.",
    "Warp it to a regular grid, for example with `gdalwarp` (-tps, -rpc, -geoloc).",
)
WORLD_FILE_INVALID = Refusal(
    "world_file_invalid",
    "a world file does not have six numbers",
    "{file}: its world file {world_file} must have six numbers, but has '{found}'.",
    "Write A, D, B, E, C and F, one per line.",
)
PRJ_CONFLICT = Refusal(
    "crs_conflict",
    "the source, its .prj and the manifest declare different CRSs",
    "{file} declares {inside}, its .prj declares {beside}.",
    "Remove the wrong one.",
)
OUTSIDE_AREA_OF_USE = Refusal(
    "outside_area_of_use",
    "data lie far outside the area of use of their CRS",
    "{file} covers {box} (degrees), far outside the area of use of {crs}: {area}.",
    "Correct files[].crs, or the georeference of the source.",
)
REACHES_OUTSIDE_AREA_OF_USE = Notice(
    "outside_area_of_use",
    "data reach outside the area of use of their CRS",
    "{file} covers {box} (degrees), which reaches outside the area of use of {crs}: {area}.",
)
BOUNDS_UNKNOWN = Notice(
    "bounds_unknown",
    "the bounds of a raster have no coordinates in EPSG:4326",
    "Left out the bounds in EPSG:4326: a corner of the raster cannot be transformed.",
)

# Mosaics

GRID_MISMATCH = Refusal(
    "grid_mismatch",
    "the files of a manifest are not on one grid",
    "{file} and {first} are not on the same grid: {differences}.",
    "Put all files on one grid (`gdalwarp -t_srs -tr -tap`), or submit one manifest for each.",
)
OPTIONS_DIFFER = Refusal(
    "options_differ",
    "the files of a raster manifest have different options",
    "The files have different options: {options}.",
    "Give all files the same options.warp and options.resampling.",
)
PIXELS_OVERLAPPING = Notice(
    "pixels_overlapping",
    "pixels that several files cover",
    "Kept the later file's valid pixels where files overlap ({count:# pixel|# pixels}).",
)
PIXELS_UNCOVERED = Notice(
    "pixels_uncovered",
    "pixels of a mosaic that no file covers",
    "Filled {count:# pixel|# pixels} of the mosaic with nodata: no file covers them.",
)

# Warp and result

WARP_ANTIMERIDIAN = Refusal(
    "warp_antimeridian",
    "a raster to warp crosses the antimeridian or reaches outside its projection",
    "{file} crosses the antimeridian or reaches outside its projection: in {crs} it would span the whole world.",
    "Remove options.warp, or submit each side of the antimeridian as a separate dataset.",
)
RESAMPLING_INVENTS = Refusal(
    "resampling_invents",
    "options.resampling would create values that are not in the source",
    "{file} has {what}: options.resampling '{resampling}' would create values that are not in it.",
    "Use nearest, or remove the option.",
)
RASTER_NOT_WRITTEN = Refusal(
    "raster_not_written",
    "the COG cannot be written",
    "Cannot write the result as a Cloud Optimized GeoTIFF. GDAL reports: {problem}.",
    "Check the free space of the scratch disk; otherwise upload the raster as a plain GeoTIFF.",
)
CRS_NOT_IN_GEOTIFF = Refusal(
    "crs_not_in_geotiff",
    "a GeoTIFF cannot store the CRS",
    "{file}: a GeoTIFF cannot store the CRS {crs}; it would be read back as {stored}.",
    "Warp it to a CRS with an EPSG code first.",
)
