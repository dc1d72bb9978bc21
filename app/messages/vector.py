"""Messages about vector sources."""

from __future__ import annotations

from app.messages.common import REPORT_DEFECT
from app.messages.message import Notice, Refusal

UNDAMAGED = "Send an undamaged file."
REAL_ENCODING = "Give the real encoding in `options.encoding`, for example CP1252."

# The file as a whole

NOT_VECTOR = Refusal(
    "format_not_vector",
    "a file that is not a vector file, in a run for vector files",
    "{file} is declared as {type} {format}. This pipeline reads vector files.",
    "Use an intent for that type of file.",
)
INTENT_NOT_VECTOR = Refusal(
    "format_not_vector",
    "a file that is not a vector file, in a run for vector files",
    "The vector pipeline cannot process {subject}.",
    "Send vector files, or use an intent for that type of file.",
)
ZIP_NOT_ACCEPTED = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is a zip archive. {format} is not accepted in archives.",
    "Send the file itself.",
)
OTHER_DRIVER = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as {format}, GDAL reads it as {driver}.",
    "Correct `files[].format`.",
)
UNREADABLE = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} cannot be read as {format}: {error}",
    "Correct `files[].format`, or send an undamaged file.",
)
FILE_DAMAGED = Refusal("file_damaged", "a file is damaged", "{file} is damaged: {error}", UNDAMAGED)
READING_STOPPED = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} is damaged: reading stopped after row {done} of {rows}: {error}",
    UNDAMAGED,
)
ROWS_MISSING = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} announces {announced:# row|# rows}, {read} could be read.",
    "The file is truncated or damaged. Upload it again.",
)
ARCHIVE_LAYER_AMBIGUOUS = Refusal(
    "layer_ambiguous",
    "a source has several layers or rasters, and files[].layer names none of them",
    "The archive {file} has {number:# source|# sources} of the format {format}: {found}.",
    "Name one of them in `files[].layer`, without its suffix, or several in `files[].layers`.",
)
CRS_DIFFERS = Refusal(
    "crs_differs",
    "files of several CRSs are to be kept in theirs, or compared with coordinates in recipe.where",
    "{file} is in {crs} and {first} in {first_crs}. The recipe keeps the CRS of the files.",
    "Name one CRS in `recipe.crs`, or send one manifest for each CRS.",
)
NO_FEATURES = Refusal(
    "no_features", "a source has no features", "{file} has no features.", "Send a source with at least one feature."
)
SCHEMA_MISMATCH = Refusal(
    "schema_mismatch",
    "the files of a manifest differ in their columns or geometry types",
    "The files differ: {differences}",
    "Give all files the same columns in the same order, send one manifest for each, or set `options.union` to by_name: "
    "then columns that a file lacks are null in its rows.",
)

TYPES_DIFFER = Refusal(
    "schema_mismatch",
    "the files of a manifest differ in their columns or geometry types",
    "No type holds the values of the column {column!r} in all files: it is {found} in {name}, and {first} in {other}.",
    "Declare one type for it in `options.types` of the files, for example text.",
)
TYPE_IMPOSSIBLE = Refusal(
    "type_impossible",
    "files[].options.types declares a type that no value of the column can have",
    "{file}: column {column!r} is {found}, which cannot become {type}.",
    "Declare another type, or leave the column out of `options.types`.",
)
VALUE_NOT_WIDENED = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file}: column {column!r} of row {row} has the value {value}, which {type}, the type of this column in all "
    "files, cannot hold exactly (rows count from 0).",
    "Declare the column as text in `options.types` of the files.",
)

# Columns

RECIPE_COLUMN_UNKNOWN = Refusal(
    "column_unknown",
    "files[].options, join_config or the recipe names a column that is missing or there several times",
    "{file} has no {number:column|columns} {names}, which {field} names.",
    "{hint}Its columns, as they are named in the source: {columns}.",
)
RENAMED_COLUMNS_COLLIDE = Refusal(
    "columns_collide",
    "recipe.columns.rename gives a column the name of another one",
    "{file}: after the new names of recipe.columns.rename several columns are named {names} (case is ignored).",
    "Choose other names, or leave out the other columns with that name.",
)

# Rows

WHERE_TYPES = Refusal(
    "where_types",
    "recipe.where compares values of types that do not fit",
    "{file}: the types in recipe.where do not fit. {problems}",
    "Compare values of one type: text is '…', dates are DATE('2026-01-31'), times TIMESTAMP('2026-01-31T12:00:00Z').",
)
WHERE_GEOMETRY = Refusal(
    "where_geometry",
    "a geometry in recipe.where is empty or not valid",
    "{file}: a geometry in recipe.where cannot be used: {problem}.",
    "Correct it. Rings of polygons are closed, have at least four positions and do not cross each other.",
)
WHERE_NO_ROWS = Refusal(
    "where_no_rows",
    "recipe.where leaves no rows",
    "{file}: recipe.where is true for none of {read:# row|# rows}: {where}",
    "Correct the condition. Text is compared with its case; coordinates are in the CRS of the source ({crs}), x before "
    "y.",
)
WHERE_CRS_DIFFERS = Refusal(
    "crs_differs",
    "files of several CRSs are to be kept in theirs, or compared with coordinates in recipe.where",
    "{file} is in {crs} and {first} in {first_crs}. Coordinates in recipe.where are in the CRS of the files.",
    "Send one manifest for each CRS.",
)

# Layers and geometries

LAYER_AMBIGUOUS = Refusal(
    "layer_ambiguous",
    "a source has several layers or rasters, and files[].layer names none of them",
    "{file} has {count:# layer|# layers}: {names}.",
    "Name one of them in `files[].layer`, or several in `files[].layers`.",
)
LAYERS_OF_ONE_NAME = Refusal(
    "layer_ambiguous",
    "a source has several layers or rasters, and files[].layer names none of them",
    "{file} has {count:# layer|# layers} of the name {layer!r}.",
    "Give each layer another name, or leave it out of `files[].layers`.",
)
LAYER_EMPTY = Refusal(
    "no_features",
    "a source has no features",
    "{file}: the layer {layer!r} has no features.",
    "Name only layers with features in `files[].layer` or `files[].layers`.",
)
NO_LAYERS = Refusal(
    "layer_unknown",
    "files[].layer names a layer that the source does not have, or a file contains no raster",
    "{file} has no layers, the manifest names {layer!r}.",
    "Remove `files[].layer`.",
)
GEOMETRY_MISSING = Refusal(
    "geometry_missing",
    "a layer has no geometry column",
    "{subject} has no geometry column.",
    "Send a layer with geometries.",
)
GEOMETRY_COLUMNS = Refusal(
    "geometry_columns",
    "a layer has several geometry columns",
    "{file}: layer {layer!r} has {count:# geometry column|# geometry columns}.",
    "Send a layer with exactly one.",
)
GML_GEOMETRY_PROPERTIES = Refusal(
    "geometry_columns",
    "a layer has several geometry columns",
    "{file} has features of {layer!r} with {count} geometries each, in {properties}.",
    "Send features with exactly one geometry.",
)
FEATURE_TOO_LARGE = Refusal(
    "feature_too_large", "one feature is larger than 2 GiB", "{file}: row {row} is larger than 2 GiB.", "Split it."
)
GEOMETRIES_LOST = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} is damaged: {read:# row was|# rows were} read without a geometry, at most {expected} should be.",
    UNDAMAGED,
)
AXES_SWAPPED = Refusal(
    "axes_swapped",
    "most points of a table lie where x and y are swapped",
    "{file}: {number} of {total} points lie outside the area of use of {crs}, and inside it with x and y swapped, for "
    "example row {row} with {x!r} = {x_value:.10g} and {y!r} = {y_value:.10g} (rows count from 0).",
    "Swap the columns in files[].options: {swapped}. If they are right, correct the crs, or state "
    "`files[].options.area_of_use: ignore`.",
)
AXES_MAYBE_SWAPPED = Notice(
    "axes_maybe_swapped",
    "a few points of a table lie where x and y are swapped",
    "{count:# point lies|# points lie} outside the area of use of {crs}, and inside it with x and y swapped. Compare "
    "the columns {x!r} and {y!r} of {file} in these rows.",
)
GEOMETRY_SRID = Refusal(
    "crs_conflict",
    "the source, its .prj and the manifest declare different CRSs",
    "{file}: the column {column!r} has a geometry with the SRID {srid}, {value}, and files[].options.geometry.crs is "
    "{crs}.",
    "Correct files[].options.geometry.crs, or send one file for each CRS.",
)
GEOMETRY_COLUMN_TWICE = Refusal(
    "geometry_column_invalid",
    "a column that files[].options.geometry names cannot have the coordinates",
    "{file}: files[].options.geometry names the column {column!r} as both x and y.",
    "Name two columns.",
)
GEOMETRY_COLUMN_TYPE = Refusal(
    "geometry_column_invalid",
    "a column that files[].options.geometry names cannot have the coordinates",
    "{file}: the column {column!r}, which files[].options.geometry names, has values of the type {found}.",
    "Name a column with {wanted}.",
)
CRS_MIXED = Refusal(
    "crs_mixed",
    "the geometries of one layer name several CRSs",
    "{file} does not use one srsName throughout layer {layer!r}. It has {found}.",
    "Split the file by CRS, or write the same srsName on every geometry.",
)

# Text and values

ENCODING_WRONG = Refusal(
    "encoding_wrong",
    "text is not in the encoding that the source or the manifest names",
    "{file}: field {field!r} of row {row} has the bytes {found}, which are not {encoding} (rows count from 0).",
    REAL_ENCODING,
)
FILE_NOT_IN_ENCODING = Refusal(
    "encoding_wrong",
    "text is not in the encoding that the source or the manifest names",
    "{file} is not {encoding} ({origin}) near byte {at}.",
    REAL_ENCODING,
)
COLUMNS_DUPLICATE = Refusal(
    "columns_duplicate",
    "two columns have the same name",
    "{file} has columns of the same name: {names}.",
    "Rename them.",
)

# Engines

COVERAGE_TOO_LARGE = Refusal(
    "coverage_too_large",
    "a dataset has more vertices than may be simplified together",
    "{file}: the result has more than {limit:,} vertices and rows, and simplify.coverage needs all of them in memory.",
    "Leave out coverage, split the data, or raise SPATIAL_ETL_LIMITS__COVERAGE_VERTICES and the memory limit of runs.",
)

POSTGIS_FAILED = Refusal(
    "postgis_failed",
    "PostGIS cannot compute some rows",
    "{place}: PostGIS cannot compute these rows: {error}.",
    "Check these rows, or set `SPATIAL_ETL_ENGINE__NAME=local` to compute them without PostGIS.",
)
ROWS_LOST = Refusal(
    "rows_lost",
    "a defect of the service: rows were lost",
    "{file}: {read:# row|# rows} read, {written} written.",
    REPORT_DEFECT,
)

# Warnings before a row is read

GDAL_NOTE = Notice("reader_note", "the reader of a source reports something", "{file}: GDAL reports: {note}")
GML_SCHEMA_IGNORED = Notice(
    "reader_note",
    "the reader of a source reports something",
    "{file}: ignored the .xsd beside it, which includes other schemas or is damaged. Types come from the values.",
)
DBF_DELETED = Notice(
    "reader_note",
    "the reader of a source reports something",
    "{file}: ignored {deleted:# record that is|# records that are} marked as deleted in the .dbf.",
)
MIXED_COLUMNS = Notice(
    "reader_note",
    "the reader of a source reports something",
    "{file}: kept columns with text and other values as text: {names}.",
)
MEMBERS_IGNORED = Notice(
    "reader_note",
    "the reader of a source reports something",
    "{file}: ignored members of features besides properties: {members}.",
)
MEMBERS_REPEATED = Notice(
    "members_repeated",
    "members of JSON objects that are there twice, of which the last one counts",
    "{file}: left out {count:# member of an object|# members of objects}, because a later member of the same object "
    "has the same name.",
)
EDGES_PLANAR = Notice(
    "reader_note",
    "the reader of a source reports something",
    "{file}: edges are {edges!r}. Read them as straight lines between vertices.",
)
OTHER_GEOMETRIES = Notice(
    "reader_note",
    "the reader of a source reports something",
    "{file}: kept geometry columns besides {geometry!r} as attributes, without reprojection: {names}.",
)
NUMBERS_AS_TEXT = Notice(
    "numbers_as_text",
    "columns of numbers that have other values too, and are kept as text",
    "{file}: kept {columns} as text, because {count:# value is no number|# values are no numbers} that the column can "
    "hold.",
)
TIMES_AS_TEXT = Notice(
    "times_as_text",
    "columns of times that have other values too, and are kept as text",
    "{file}: kept {columns} as text, because {count:# value is|# values are} not a full date, or no date at all.",
)
VALUES_NULLED = Notice(
    "values_nulled",
    "values that do not fit the type of their column, and become null",
    "{file}: set {count:# value|# values} of {columns} to null, because {count:it does|they do} not fit the type of "
    "the column. Declare the column as text in files[].options.types to keep {count:it|them}.",
)
LAYERS_IGNORED = Notice(
    "layers_ignored",
    "layers without geometries, where all layers are asked for; virtual tables of a GeoPackage",
    "{file}: ignored {count:# layer|# layers} without geometries: {names}.",
)
COLUMNS_FILLED = Notice(
    "columns_filled",
    "files of a union by name lack columns that others have",
    "Filled {count:# column|# columns} with null in the rows of files that lack {count:it|them}: {names}.",
)
COLUMNS_RENAMED = Notice(
    "columns_renamed",
    "columns of a file have the same name, upper and lower case aside",
    "{file}: gave {count:# column another name|# columns other names}, because an earlier column has the same "
    "name (case is ignored): {names}.",
)
COLUMNS_WIDENED = Notice(
    "columns_widened",
    "columns of a union by name have other types in other files",
    "Gave {count:# column a type|# columns types} that {count:holds|hold} the values of all files: {names}.",
)
REPROJECTED_IN_PROCESS = Notice(
    "reprojected_in_process",
    "PostGIS transforms between two CRSs with another result than PROJ in the worker",
    "{file}: reprojected the rows in the worker, because PostGIS transforms {source} to {target} differently ({why}).",
)

# Warnings about what was found in, or done to, the rows

ROWS_FILTERED_NULL = Notice(
    "rows_filtered_null",
    "rows that recipe.where leaves out because it is null for them",
    "Left out {count:# row|# rows} for which recipe.where is null, because a value that it needs is.",
)
NULL_GEOMETRIES = Notice("null_geometries", "rows without a geometry", "Kept {count:# row|# rows} without a geometry.")
EMPTY_GEOMETRIES = Notice(
    "empty_geometries", "rows with an empty geometry", "Kept {count:# row|# rows} with an empty geometry."
)
RINGS_CLOSED = Notice(
    "rings_closed", "rings that were not closed", "Closed the open rings of {count:# geometry|# geometries}."
)
M_DROPPED = Notice(
    "m_dropped", "M values, which are dropped", "Dropped the M values of {count:# geometry|# geometries}."
)
CURVES_LINEARIZED = Notice(
    "curved_linearized",
    "curves, which are converted to lines",
    "Converted {count:# curved geometry|# curved geometries} to lines (GDAL's default step).",
)
SURFACES_CONVERTED = Notice(
    "surfaces_converted",
    "triangulated or polyhedral surfaces, such as a MultiPatch, which become multi polygons",
    "Converted {count:# triangulated or polyhedral surface to a multi polygon|# triangulated or polyhedral surfaces to "
    "multi polygons} with a polygon for each face. Faces that touch or stand upright are not valid there; "
    "`recipe.repair: off` keeps them as they are.",
)
LONGITUDES_WRAPPED = Notice(
    "longitudes_wrapped",
    "longitudes beyond ±180°",
    "Moved the longitudes of {count:# geometry|# geometries} from beyond ±180° to within.",
)
EMPTY_PARTS_SKIPPED = Notice(
    "empty_parts_skipped",
    "multi geometries with empty parts",
    "Removed the empty parts of {count:# multi geometry|# multi geometries}.",
)
ANTIMERIDIAN_SPLIT = Notice(
    "antimeridian_split",
    "geometries that cross the antimeridian",
    "Split {count:# geometry|# geometries} at the antimeridian.",
)
REPAIRED = Notice("repaired", "invalid geometries", "Repaired {count:# invalid geometry|# invalid geometries}.")
REPAIRED_TYPE_CHANGED = Notice(
    "repaired_type_changed",
    "repairs that change the geometry type",
    "Changed the geometry type of {count:# geometry|# geometries} by repairing {count:it|them}.",
)
INVALID_KEPT = Notice(
    "invalid_kept",
    "invalid geometries that the recipe keeps",
    "Kept {count:# invalid geometry|# invalid geometries}, because the recipe repairs none.",
)
_REDUCED_WHEN = "the recipe took more of the area or length than the setting allows without a warning"
_REDUCED = (
    "The recipe took {area:.1%} of the area and {length:.1%} of the length of all geometries, more than {limit:.1%}. "
    "Compare the result with the source"
)
SIMPLIFIED_MUCH = Notice(
    "geometry_reduced",
    _REDUCED_WHEN,
    _REDUCED + ", and lower `recipe.simplify.tolerance` if it is too coarse.",
)
REPAIRED_MUCH = Notice(
    "geometry_reduced",
    _REDUCED_WHEN,
    _REDUCED + ": only repairs can do that here. `recipe.repair` has another method, and `off`.",
)
COVERAGE_INVALID_EDGES = Notice(
    "coverage_invalid_edges",
    "polygons that are simplified together and overlap a neighbour, or do not share its vertices",
    "{count:# polygon overlaps|# polygons overlap} a neighbour or {count:does|do} not share the vertices of the common "
    "border: there the borders may part.",
)
COVERAGE_NOT_POLYGONS = Notice(
    "coverage_not_polygons",
    "geometries that are no polygons where polygons are simplified together",
    "Did not simplify {count:# geometry|# geometries} that {count:is no polygon|are no polygons}.",
)
COLLAPSED = Notice(
    "collapsed",
    "geometries that have no area, or no length, after the recipe",
    "{count:# geometry has|# geometries have} lost the whole area, or the whole length, by the recipe.",
)
SIMPLIFY_KEPT = Notice(
    "simplify_kept",
    "geometries that would become invalid by simplification",
    "Did not simplify {count:# geometry|# geometries}, because the result would be invalid.",
)
NULL_ISLAND = Notice(
    "null_island",
    "geometries at 0, 0",
    "{count:# geometry lies|# geometries lie} at 0, 0. Missing coordinates are often written as 0, 0.",
)
OUTSIDE_AREA_OF_USE = Notice(
    "outside_area_of_use",
    "data reach outside the area of use of their CRS",
    "{count:# geometry|# geometries} of {total} ({share:.1%}) {count:reaches|reach} outside the area of use of {crs} "
    "({area}), by up to {distance}. If that is meant, state `files[].options.area_of_use: ignore`.",
)
RESULT_OUTSIDE_AREA_OF_USE = Notice(
    "result_outside_area_of_use",
    "data reach outside the area of use of the CRS of the result",
    "{count:# geometry|# geometries} of {total} ({share:.1%}) {count:reaches|reach} outside the area of use of "
    "recipe.crs, {crs} ({area}), by up to {distance}. There it distorts.",
)
