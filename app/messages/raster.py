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
CODEC_MISSING = Refusal(
    "compression_not_supported",
    "a raster has a compression that this service cannot decode",
    "{file} has a compression that this service cannot decode. GDAL reports: {problem}.",
    "Compress it otherwise, for example with `gdal_translate -co COMPRESS=ZSTD IN OUT`.",
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
COLOURS_CONVERTED = Notice(
    "colours_converted",
    "colours of a raster that are read as RGB only",
    "Converted the colours of {file} from {space} to RGB. The numbers in the file are not kept.",
)
GDAL_WARNED = Notice(
    "gdal_warning",
    "GDAL warns about a raster while it opens or reads it",
    "GDAL warns about {file}: {problem}.",
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
PIXELS_EXTREME = Notice(
    "pixels_extreme",
    "pixels beyond ±1e38, which are not the nodata value: kept, and left out of the statistics",
    "Kept {count:# pixel|# pixels} of {file} with values beyond ±1e38, such as {value}, but left {count:it|them} out "
    "of statistics and preview: {count:it is|they are} not the nodata value ({nodata}). If {count:it means|they mean} "
    "nodata, set that in the source, for example with `gdal_edit.py -a_nodata {value}`.",
)
NODATA_IMPOSSIBLE = Notice(
    "nodata_impossible",
    "the nodata value cannot occur in the data type",
    "Ignored the nodata value {value} of {file}: it cannot occur in {dtype}.",
)

# Location

_NOT_AFFINE = "a raster is placed by control points, RPCs, coordinate arrays or uneven axes, not by a regular grid"
_MISSING_VALUES = "values that a netCDF variable declares as missing by missing_value or valid_range"

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
    "Upload its world file ({suffixes}) beside it, or georeference it.",
)
COORDINATES_MISSING = Refusal(
    "georeference_missing",
    "a raster has neither a geotransform nor a world file, or its pixels have no area",
    "{file} is not georeferenced: its last two dimensions have no coordinates of at least two rows and two columns.",
    "Add a coordinate variable for each, with the attribute `axis` (Y, X) or `standard_name`.",
)
GEOREFERENCE_WITHOUT_AREA = Refusal(
    "georeference_missing",
    "a raster has neither a geotransform nor a world file, or its pixels have no area",
    "{file} has the geotransform {transform}, which gives its pixels no area.",
    "Georeference it again.",
)
GEOREFERENCE_NOT_AFFINE = Refusal(
    "georeference_not_affine",
    _NOT_AFFINE,
    "{file} is georeferenced only by {method}, not by a geotransform.",
    "Warp it to a regular grid, for example with `gdalwarp` (-tps, -rpc, -geoloc).",
)
AXES_NOT_EVEN = Refusal(
    "georeference_not_affine",
    _NOT_AFFINE,
    "{file}: the coordinates '{axis}' are not evenly spaced ({least} to {most}). On an even grid, cells would be up to "
    "{pixels} pixels from their coordinates.",
    "Interpolate it to a regular grid, for example with `cdo remapbil,GRID`.",
)
AXES_NOT_LAST = Refusal(
    "georeference_not_affine",
    _NOT_AFFINE,
    "{file} has the dimensions ({dimensions}). The rows '{y}' and the columns '{x}' have to be the last two, with "
    "coordinates.",
    "Reorder the dimensions, for example with `ncpdq -a {y},{x} IN OUT`.",
)
AXES_UNIT_UNKNOWN = Refusal(
    "georeference_not_affine",
    _NOT_AFFINE,
    "{file}: the coordinates '{x}' and '{y}' are in '{unit}', which cannot be converted to the unit of the CRS {crs}.",
    "Write the coordinates in the unit of the CRS, with that unit in their attribute `units`.",
)
AXES_ROUNDED = Notice(
    "axes_rounded",
    "coordinates of a netCDF file that are not quite evenly spaced",
    "Placed {file} on an even grid: its coordinates '{axis}' differ from that by up to {pixels} pixels.",
)
AXES_TRANSPOSED = Notice(
    "axes_transposed",
    "a netCDF variable has its columns before its rows",
    "Exchanged rows and columns of {file}: it has the dimensions ({dimensions}).",
)
GEOREFERENCE_BY_AXES = Notice(
    "georeference_by_axes",
    "the coordinates of a netCDF file contradict its geotransform",
    "Placed {file} by its coordinates '{x}' and '{y}', at {used}: they contradict its geotransform {inside}.",
)
MISSING_VALUES_STORED = Notice(
    "missing_values",
    _MISSING_VALUES,
    "Stored {count:# value|# values} of {file} as nodata, because of its attributes missing_value or valid_range.",
)
VALID_RANGE_KEPT = Notice(
    "missing_values",
    _MISSING_VALUES,
    "Kept {count:# value|# values} of {file} outside its valid_range: it has no nodata value.",
)
WORLD_FILE_INVALID = Refusal(
    "world_file_invalid",
    "a world file does not have six numbers",
    "{file}: its world file {world_file} must have six numbers, but has '{found}'.",
    "Write A, D, B, E, C and F, one per line.",
)
VERTICAL_CRS_UNKNOWN = Notice(
    "vertical_crs_unknown",
    "a raster says that it has heights, but not in which vertical CRS",
    "Read {file} as {crs} without a vertical CRS: it names none for its heights. Declare it in files[].crs, for "
    "example EPSG:25832+7837.",
)
PRJ_CONFLICT = Refusal(
    "crs_conflict",
    "the source, its .prj and the manifest declare different CRSs",
    "{file} declares {inside}, its .prj declares {beside}.",
    "Remove the wrong one.",
)
NOWHERE_ON_EARTH = Refusal(
    "outside_area_of_use",
    "data lie far outside the area of use of their CRS",
    "{file} lies at no place on Earth in {crs}: a corner is at x={x:.10g}, y={y:.10g}.",
    "Correct files[].crs, or the georeference of the source.",
)
MISREAD = Refusal(
    "outside_area_of_use",
    "data lie far outside the area of use of their CRS",
    "{file} covers {box}, far outside the area of use of {crs} ({area}), and lies inside it if its coordinates are "
    "read {reading}.",
    "Correct files[].crs, or the georeference of the source. If the raster is meant to lie there, state "
    "`files[].options.area_of_use: ignore`.",
)
REACHES_OUTSIDE_AREA_OF_USE = Notice(
    "outside_area_of_use",
    "data reach outside the area of use of their CRS",
    "{file} covers {box}: {share:.1%} of it lies outside the area of use of {crs} ({area}), by up to {distance}. If "
    "that is meant, state `files[].options.area_of_use: ignore`.",
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
COLOURS_NOT_WRITTEN = Refusal(
    "raster_not_written",
    "the COG cannot be written",
    "Cannot write {file} as a Cloud Optimized GeoTIFF: its bands would not be read as {photometric} any more.",
    "This is a defect of the service. Report it. Until then, upload the bands as several files.",
)
PIXEL_NOT_WRITTEN = Refusal(
    "raster_not_written",
    "the COG cannot be written",
    "Cannot write {file} as a Cloud Optimized GeoTIFF: its pixel in column {column}, row {row} would change its value "
    "or its place.",
    "This is a defect of the service. Report it.",
)
METADATA_LEFT_OUT = Notice(
    "metadata_left_out",
    "metadata of a raster that its COG cannot have",
    "Left out the metadata {domains} of {file}: it is about the pixels of that file as they were numbered there, or "
    "GeoTIFF cannot hold it.",
)
CRS_NOT_IN_GEOTIFF = Refusal(
    "crs_not_in_geotiff",
    "a GeoTIFF cannot store the CRS",
    "{file}: a GeoTIFF cannot store the CRS {crs}; it would be read back as {stored}.",
    "Warp it to a CRS with an EPSG code first.",
)
