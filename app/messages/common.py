"""Messages that several kinds of data share: files, archives, content, layers, CRSs, coordinates, limits."""

from __future__ import annotations

from app.messages.message import Notice, Refusal

_SEND_ARCHIVE_AGAIN = "Upload the archive again; `unzip -t` should report no error."
_CORRECT_NAMES = "Use relative names with '/', without '..', in the archive."
_USE_A_CODE = "Use an authority code such as EPSG:25832, or WKT."
UPLOAD_AGAIN = "Upload the file again."

REPORT_DEFECT = "This is a defect of the service. Report it with the source, if you may share it."

# Files

FILE_MISSING = Refusal(
    "file_missing",
    "a source is not in the landing zone",
    "There is no object '{file}' in the landing zone.",
    "Upload it (PUT /landing/{file}), then run the manifest again: POST /runs/RUN_ID/rerun.",
)
FILE_EMPTY = Refusal("file_empty", "a file has 0 bytes", "{file} is empty (0 bytes).", UPLOAD_AGAIN)
FILE_TOO_LARGE = Refusal(
    "file_too_large",
    "a file has more bytes than the limit",
    "{file} has more than {limit:# byte|# bytes}.",
    "Split the data, or raise SPATIAL_ETL_LIMITS__FILE_BYTES.",
)
FILE_TRUNCATED = Refusal(
    "file_truncated",
    "a file ends too early",
    "{file} is truncated: it has {size:# byte|# bytes}, its header requires at least {expected}.",
    UPLOAD_AGAIN,
)
END_MARK_MISSING = Refusal(
    "file_truncated",
    "a file ends too early",
    "{file} is truncated: {mark} is missing after {size:# byte|# bytes}.",
    UPLOAD_AGAIN,
)
CONTENT_MISMATCH = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as {format}, but its content is {found}.",
    "Correct files[].format, or upload the right file.",
)

ENCODING_CONTRADICTED = Refusal(
    "encoding_wrong",
    "text is not in the encoding that the source or the manifest names",
    "{file} is not {encoding}: it begins with the byte order mark of {found}.",
    "Correct or remove files[].options.encoding.",
)
COLUMNS_TOO_MANY = Refusal(
    "columns_too_many",
    "a source has more columns than the limit",
    "{file} has {columns:# column|# columns}, the limit is {limit}.",
    "Remove columns, or raise SPATIAL_ETL_LIMITS__COLUMNS.",
)
ROWS_TOO_MANY = Refusal(
    "rows_too_many",
    "a source or a join has more rows than the limit",
    "{file} has more than {limit:# row|# rows}.",
    "Split the data, or raise SPATIAL_ETL_LIMITS__ROWS.",
)

# Columns

TYPED_COLUMN_UNKNOWN = Refusal(
    "column_unknown",
    "files[].options, join_config or the recipe names a column that is missing or there several times",
    "{file} has {number:# column|# columns} {name!r}, which files[].options.{option} names.",
    "{hint}Its columns: {columns}.",
)
VALUE_NOT_OF_TYPE = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file}: column {column!r} of row {row} has the value {value}, which files[].options.types declares as {type} "
    "(rows count from 0).",
    "Correct the value, or declare another type: text keeps every value as it is written.",
)

INT96_TOO_FAR = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file}: column {column!r} has an INT96 timestamp of about the year {year}, which microseconds cannot hold.",
    "Correct the value, or write the column as text.",
)
INTERVALS_AS_TEXT = Notice(
    "intervals_as_text",
    "columns of the Parquet type INTERVAL, which are kept as text or bytes",
    "Stored {count:the column|the columns} {columns} of {file} as text in the form of ISO 8601 (P1M2DT3.5S), because "
    "the product has no type for {count:its|their} values, which are of the Parquet type INTERVAL.",
)
INTERVALS_AS_BYTES = Notice(
    "intervals_as_text",
    "columns of the Parquet type INTERVAL, which are kept as text or bytes",
    "Kept the Parquet type INTERVAL within {columns} of {file} as 12 bytes: months, days and milliseconds, each as a "
    "number of 32 bits with its lowest byte first.",
)
TIMES_IN_UTC = Notice(
    "times_in_utc",
    "columns with times of day in UTC, which are kept as times without a zone",
    "Stored {count:the column|the columns} {columns} of {file} as times of day without a zone: the values are the "
    "same, and their zone is UTC.",
)
TIMESTAMPS_CUT = Notice(
    "timestamps_cut",
    "INT96 timestamps with digits below the microsecond, in a file with moments outside the years 1677 to 2262",
    "Read the INT96 timestamps of {file} to the microsecond, because some lie outside the years 1677 to 2262: "
    "{count:# value has|# values have} more digits, which were left out.",
)

# Archives

ARCHIVE_NO_SOURCE = Refusal(
    "archive_no_source",
    "an archive has no file of the declared format",
    "The archive {file} has no {format} file ({suffixes}). It has: {found}.",
    "Put the source into the archive, or correct files[].format.",
)
ARCHIVE_AMBIGUOUS = Refusal(
    "archive_ambiguous",
    "an archive has several sources",
    "The archive {file} has {number:# source|# sources} of the format {format}: {found}.",
    "Set files[].member to one of them, or send one archive for each.",
)
MEMBER_UNKNOWN = Refusal(
    "member_unknown",
    "an archive has no file of the name that files[].member gives",
    "The archive {file} has no file {member!r}.",
    "{hint}It has: {found}.",
)
MEMBER_WITHOUT_ARCHIVE = Refusal(
    "member_without_archive",
    "files[].member names a file of an archive, and the source is no zip archive",
    "{file} is no zip archive, so there is no file {member!r} in it.",
    "Remove files[].member, or correct files[].path.",
)
ARCHIVE_INVALID = Refusal(
    "archive_invalid",
    "an archive is damaged or truncated",
    "The archive {file} is damaged or truncated ({problem}).",
    _SEND_ARCHIVE_AGAIN,
)
ARCHIVE_END_MISSING = Refusal(
    "archive_invalid",
    "an archive is damaged or truncated",
    "{file} is not a complete zip archive: its end is missing.",
    _SEND_ARCHIVE_AGAIN,
)
ARCHIVE_ENTRIES = Refusal(
    "archive_entries",
    "an archive has too many entries, or its directory is too large",
    "The archive {file} has {entries:# entry|# entries}, the limit is {limit}.",
    "Archive only the files of one source, or raise SPATIAL_ETL_LIMITS__ARCHIVE_ENTRIES.",
)
ARCHIVE_DIRECTORY = Refusal(
    "archive_entries",
    "an archive has too many entries, or its directory is too large",
    "The directory of the archive {file} has {size:# byte|# bytes}, the limit is {limit}.",
    "Split the data into several archives, or raise SPATIAL_ETL_LIMITS__ARCHIVE_ENTRIES.",
)
ARCHIVE_BYTES = Refusal(
    "archive_bytes",
    "an archive unpacks to more bytes than the limit",
    "The archive {file} unpacks to more than {limit:# byte|# bytes} (at entry {entry!r}).",
    "Split the data, or raise SPATIAL_ETL_LIMITS__ARCHIVE_BYTES.",
)
ARCHIVE_RATIO = Refusal(
    "archive_ratio",
    "an archive unpacks to a larger multiple of its size than the limit",
    "The archive {file} unpacks to more than {limit} times its size (at entry {entry!r}).",
    "Compress the data less, or raise SPATIAL_ETL_LIMITS__ARCHIVE_RATIO.",
)
ARCHIVE_ENCRYPTED = Refusal(
    "archive_encrypted",
    "an archive has an encrypted entry",
    "The archive {file} has an encrypted entry {entry!r}.",
    "Create the archive without a password.",
)
ARCHIVE_METHOD = Refusal(
    "archive_method",
    "an entry of an archive is compressed by another method than deflate",
    "The archive {file} has an entry {entry!r} compressed by method {method}.",
    "Compress it with deflate, the default method of zip programs.",
)
ARCHIVE_LINK = Refusal(
    "archive_link",
    "an entry of an archive is a link or a device",
    "The archive {file} has an entry {entry!r} that is a link or a device.",
    "Archive the files themselves.",
)
ARCHIVE_DUPLICATE = Refusal(
    "archive_duplicate",
    "an archive has one name twice (ignoring case), or as a file and as a directory",
    "The archive {file} has two entries named {entry!r} (ignoring case).",
    "Remove one of them.",
)
ARCHIVE_FILE_AND_DIRECTORY = Refusal(
    "archive_duplicate",
    "an archive has one name twice (ignoring case), or as a file and as a directory",
    "The archive {file} has {entry!r} both as a file and as a directory.",
    "Remove one of them.",
)
ARCHIVE_PATH = Refusal(
    "archive_path",
    "the name of an archive's entry is absolute or too long, or has '..' or a control character",
    "The archive {file} has an entry {entry!r}, whose name is not a plain relative path.",
    _CORRECT_NAMES,
)
ARCHIVE_NAME_TOO_LONG = Refusal(
    "archive_path",
    "the name of an archive's entry is absolute or too long, or has '..' or a control character",
    "The archive {file} has an entry with a name of {length:# character|# characters}.",
    "Use names of at most 255 bytes, and 1024 bytes with their directories.",
)

# Layers

LAYER_UNKNOWN = Refusal(
    "layer_unknown",
    "files[].layer names a layer that the source does not have, or a file contains no raster",
    "{file} has no layer {layer!r}.",
    "Its layers: {layers}.",
)
LAYER_MISSPELT = Refusal(
    "layer_unknown",
    "files[].layer names a layer that the source does not have, or a file contains no raster",
    "{file} has no layer {layer!r}.",
    "Did you mean {nearest!r}? Its layers: {layers}.",
)
LAYERS_TOO_MANY = Refusal(
    "layers_too_many",
    "a source has more layers than the limit",
    "{file} has {layers:# layer|# layers}, the limit is {limit}.",
    "Split it, or raise SPATIAL_ETL_LIMITS__LAYERS.",
)

# CRSs

CRS_UNKNOWN = Refusal(
    "crs_unknown",
    "a CRS is unknown to PROJ, is too long, or refers to another file",
    "{file}: PROJ does not know the CRS {crs} {where}.",
    _USE_A_CODE,
)
CRS_TOO_LONG = Refusal(
    "crs_unknown",
    "a CRS is unknown to PROJ, is too long, or refers to another file",
    "{file}: the CRS {crs} {where} has {length:# character|# characters}, the limit is {limit}.",
    _USE_A_CODE,
)
CRS_NAMES_FILE = Refusal(
    "crs_unknown",
    "a CRS is unknown to PROJ, is too long, or refers to another file",
    "{file}: the CRS {crs} {where} refers to another file.",
    "Use an authority code such as EPSG:25832, or WKT without custom grids.",
)
CRS_MISSING = Refusal(
    "crs_missing",
    "neither the source nor the manifest declares a CRS",
    "{file} does not declare a CRS.",
    "{fix}",
)
CRS_CONFLICT = Refusal(
    "crs_conflict",
    "the source, its .prj and the manifest declare different CRSs",
    "{file} declares {found}, the manifest declares {declared}.",
    "Remove files[].crs (it is for sources without a CRS), or correct the source.",
)
CRS_NOT_TRANSFORMABLE = Refusal(
    "crs_not_transformable",
    "PROJ has no transformation between two CRSs",
    "{file}: PROJ has no transformation from {source} to {target}.",
    "Convert the source to a georeferenced CRS.",
)
DATUM_GRID_MISSING = Notice(
    "datum_grid_missing",
    "the best transformation needs a grid that is not installed",
    "{file}: the best transformation from {source} to {target} needs {grids}, which is not installed. "
    "Used instead: {used} ({accuracy}). To use the grid, put the file into the folder that SPATIAL_ETL_PROJ_GRIDS "
    "names, on every host with workers.",
)

# Coordinates and geometries

COORDINATES_NOT_FINITE = Refusal(
    "coordinates_not_finite",
    "coordinates are not finite numbers",
    "{file}: in the rows read so far, {rows:# row has|# rows have} coordinates that are not finite numbers; the first "
    "is row {first} (rows count from 0).",
    "Correct or remove these geometries.",
)
COORDINATES_NOT_TRANSFORMABLE = Refusal(
    "coordinates_not_transformable",
    "coordinates cannot be transformed",
    "{file}: in the rows read so far, {rows:# row has|# rows have} coordinates that cannot be transformed from "
    "{source} to {target}; the first is row {first} with x={x:g}, y={y:g} (rows count from 0).",
    "Check the CRS and the axis order of the source.",
)
COORDINATES_LOST = Refusal(
    "coordinates_not_transformable",
    "coordinates cannot be transformed",
    "{file}: in the rows read so far, {rows:# row has|# rows have} coordinates that {source} cannot be transformed "
    "from: row {first} with x={x:.10g}, y={y:.10g} comes back from degrees {distance} off (rows count from 0).",
    "Check the CRS and the axis order of the source.",
)
RESULT_MISPLACED = Refusal(
    "result_misplaced",
    "data lie too far outside the area of use of the CRS of the result",
    "{file}: in the rows read so far, {rows:# row has|# rows have} coordinates that {target} cannot hold: those of row "
    "{first}, x={x:.10g} and y={y:.10g} in {source}, come back from it {distance} off (rows count from 0).",
    "Choose a CRS that is meant for the place of the data, or keep that of the source: `recipe.crs: source`.",
)
NOWHERE_ON_EARTH = Refusal(
    "outside_area_of_use",
    "data lie far outside the area of use of their CRS",
    "{file}: the coordinates of {count} of {total} geometries are no place on Earth in {crs}{example}.",
    "Check the CRS and the axis order of the source.",
)
MISREAD = Refusal(
    "outside_area_of_use",
    "data lie far outside the area of use of their CRS",
    "{file}: {count} of {total} geometries lie far outside the area of use of {crs} ({area}), and inside it if their "
    "coordinates are read {reading}{example}.",
    "Correct the CRS or the axis order of the source. If the data are meant to lie there, state "
    "`files[].options.area_of_use: ignore`.",
)
ANTIMERIDIAN_UNSPLITTABLE = Refusal(
    "antimeridian_unsplittable",
    "a geometry crosses the antimeridian and cannot be split there",
    "{file}: the {kind} of row {row} crosses the antimeridian and cannot be split there (rows count from 0).",
    "Split it at 180° in the source.",
)
GEOMETRY_DAMAGED = Refusal(
    "geometry_damaged",
    "a geometry cannot be read",
    "{file}: the geometry of row {row} cannot be read: {problem} (rows count from 0).",
    "Correct or remove it.",
)

# Recipes and products

INTENT_UNKNOWN = Notice(
    "intent_unknown",
    "an intent that is not in the table of intents",
    "Used the recipe of {recipe} for the unknown intent '{intent}'. Known intents: {known}.",
)

ROWS_NOT_IN_FILE = Refusal(
    "rows_lost",
    "a defect of the service: rows were lost",
    "{written:# row was|# rows were} written, the file has {found}.",
    REPORT_DEFECT,
)
