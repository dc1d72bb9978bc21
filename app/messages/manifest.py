"""Messages about manifests, and about JSON documents that other requests send."""

from __future__ import annotations

from app.messages.message import FaultMessage

SEND_OBJECT = "Send a JSON object with Content-Type: application/json."

# The document as a whole

JSON_INVALID = FaultMessage(
    "json_invalid", "a document is not JSON", "Not JSON{where}: {reason}.", "Send a JSON document encoded as UTF-8."
)
NAME_REPEATED = FaultMessage(
    "name_repeated",
    "a name occurs more than once in an object",
    "The name {name} occurs more than once in an object, which makes its value ambiguous.",
    "Keep one of them.",
)
TOO_COMPLEX = FaultMessage(
    "manifest_too_complex",
    "a manifest has too many values",
    "The document has more than {limit:,} values.",
    "Send the files in several manifests, each with its own batch_id.",
)
TOO_LARGE = FaultMessage(
    "manifest_too_large",
    "an object in the landing zone is too large for a manifest",
    "{key} has {size} bytes; a manifest may have {limit}.",
    "If it is data, move it out of {prefix}. Otherwise raise SPATIAL_ETL_API__MAX_MANIFEST_BYTES.",
)
NOT_PROCESSED = FaultMessage(
    "manifest_not_processed",
    "a defect of the service: a manifest in the landing zone could not be processed",
    "The service could not process the manifest.",
    "This is a defect of the service. Report it with the object in archive/ and the service's log.",
)
BODY_MISSING = FaultMessage("field_missing", "a required field is missing", "The request has no body.", SEND_OBJECT)
FIELD_MISSING = FaultMessage(
    "field_missing", "a required field is missing", "The field {name} is missing.", "Add the field."
)
GEOMETRY_CRS_MISSING = FaultMessage(
    "field_missing",
    "a required field is missing",
    "The CRS of the coordinates is missing.",
    'Add "crs" to options.geometry, for example "EPSG:4326" for degrees of longitude and latitude, or "EPSG:25832" for '
    "UTM zone 32.",
)
_FIELD_UNKNOWN = "a field that a manifest does not have at this place"
FIELD_MISSPELT = FaultMessage("field_unknown", _FIELD_UNKNOWN, "Unknown field {name}.", "Did you mean {nearest!r}?")
FIELD_MISPLACED = FaultMessage("field_unknown", _FIELD_UNKNOWN, "Unknown field {name}.", "It belongs in {place}.")
FIELD_UNKNOWN = FaultMessage(
    "field_unknown",
    _FIELD_UNKNOWN,
    "Unknown field {name}.",
    "Remove it, or put it in metadata.tags. Known here: {known}.",
)
FAULTS_OMITTED = FaultMessage(
    "faults_omitted",
    "a document has more faults than are listed",
    "{count:,} further {count:fault is|faults are} not listed.",
    "Fix those that are listed, and send it again.",
)

# Text and fields

TEXT_INVALID = FaultMessage(
    "text_invalid",
    "a text has a zero byte or a lone surrogate",
    "The text has a zero byte or a lone surrogate.",
    "Send Unicode text without \\u0000 and without lone surrogates.",
)
TEXT_EMPTY = FaultMessage(
    "empty", "a text has white space only", "The text is empty.", "Give at least one character that is not white space."
)
ARRAY_TOO_LONG = FaultMessage(
    "too_long",
    "a value is not an array with at most {max_length} items",
    "The {what} has {items:,} items.",
    "Give at most {max_length:,}.",
)
BATCH_ID_RESERVED = FaultMessage(
    "batch_id_reserved",
    "a batch_id begins like those of rejected manifests",
    "Batch ids that start with {prefix!r} are reserved for rejected manifests.",
    "Choose another batch_id.",
)

# The intent

INTENT_UNKNOWN = FaultMessage(
    "intent_unknown",
    "an intent that is not in the table of intents",
    "Unknown intent {name}.",
    "{hint}Known intents: {known}, ingest_*.",
)
INTENT_NOT_AVAILABLE = FaultMessage(
    "intent_not_available",
    "this release has no pipeline for the intent",
    "This release cannot run {intent}.",
    "Use another intent.",
)

# files[]

_PATH_EXAMPLE = "Write s3://{bucket}/KEY, for example s3://{bucket}/parcels/2026.gpkg."
_PATH_KEY = "files[].path names no object, or one with too long a key"

PATH_SCHEME = FaultMessage(
    "path_scheme",
    "files[].path is another kind of address than s3://",
    "{path} does not name an object of the landing zone.",
    _PATH_EXAMPLE,
)
PATH_BUCKET = FaultMessage(
    "path_bucket",
    "files[].path is outside of the landing zone",
    "{path} is outside the bucket {bucket!r}.",
    _PATH_EXAMPLE,
)
PATH_KEY_TOO_LONG = FaultMessage("path_key", _PATH_KEY, "The key has more than {limit} bytes.", _PATH_EXAMPLE)
PATH_KEY_MISSING = FaultMessage("path_key", _PATH_KEY, "{path} names no object.", _PATH_EXAMPLE)
PATH_TRAVERSAL = FaultMessage(
    "path_traversal",
    "files[].path has an empty, '.' or '..' part, a backslash or a control character",
    "{path} has an empty, '.' or '..' part, a backslash or a control character.",
    _PATH_EXAMPLE,
)
PATH_DUPLICATE = FaultMessage(
    "path_duplicate",
    "a source is listed twice",
    "{path} is listed twice (also as /files/{other}).",
    "List each file once. Entries for the same zip, or the same vector file, each need another member or layer.",
)
PATTERN_UNMATCHED = FaultMessage(
    "pattern_unmatched",
    "files[].path is a pattern, and no object of the landing zone matches it",
    "No object matches {path}.",
    "Upload the files first, or correct the pattern: * and ? stand for characters of a name, ** for folders. "
    "GET /landing?prefix= lists what is in {bucket}.",
)
_TOO_MANY = "files[].path is a pattern for too many objects"
PATTERN_TOO_MANY = FaultMessage(
    "pattern_too_many",
    _TOO_MANY,
    "With {path}, the manifest has more than {limit:,} files.",
    "Use narrower patterns, and send the files in several manifests, each with its own batch_id.",
)
PATTERN_TOO_BROAD = FaultMessage(
    "pattern_too_many",
    _TOO_MANY,
    "To find what matches {path}, more than {limit:,} objects would have to be looked at.",
    "Begin the pattern with the folders of the files, for example 2026/tiles/*.gpkg.",
)
PATTERNS_TOO_MANY = FaultMessage(
    "pattern_too_many",
    _TOO_MANY,
    "{found} paths are patterns, the limit is {limit}.",
    "Write wider patterns, or the names of the files.",
)
PATH_FORBIDDEN = FaultMessage(
    "path_forbidden",
    "a file is outside of the prefixes of the API key",
    "The object {key!r} is outside of {prefixes}.",
    "Use an object below one of the API key's prefixes, or an API key with another prefix.",
)
FORMAT_UNKNOWN = FaultMessage(
    "format_unknown", "an unknown format", "Unknown format {name}.", "Known formats: {known}."
)
FORMAT_NOT_AVAILABLE = FaultMessage(
    "format_not_available",
    "this release cannot read the format",
    "This release cannot read {format} files.",
    "Send the data in another format: `spatial-etl formats` lists them.",
)
FORMAT_TYPE_MISMATCH = FaultMessage(
    "format_type_mismatch",
    "files[].type and files[].format contradict each other",
    "{format} is a {type} format, the file is declared as {declared}.",
    "Declare type {type!r}, or one of {formats}.",
)
TYPE_NOT_OF_INTENT = FaultMessage(
    "type_not_of_intent",
    "the intent does not take files of this type",
    "{intent} takes {types} files, not {declared}.",
    "Use an intent for {declared} files.",
)
TABLE_WITHOUT_GEOMETRY = FaultMessage(
    "type_not_of_intent",
    "the intent does not take files of this type",
    "{intent} takes a table only with the columns of its coordinates.",
    'Name them in options, for example "options": {{"geometry": {{"x": "lon", "y": "lat", "crs": "EPSG:4326"}}}}, or '
    "a column wkt or wkb. For a table without coordinates use ingest_tabular.",
)
FILES_NOT_ALLOWED = FaultMessage(
    "files_not_allowed",
    "files[] has files, and the intent takes none",
    "{intent} takes no files; found {found}.",
    "Remove files[]; name the datasets in metadata.join_config.",
)
FILES_MISSING = FaultMessage(
    "files_missing",
    "files[] is empty, and the intent needs files",
    "{intent} needs files; files[] is empty.",
    "List at least one {types} file.",
)
FILES_TOO_MANY = FaultMessage(
    "files_too_many",
    "files[] has more files than the intent takes",
    "{intent} takes exactly {limit:# file|# files}; found {found}.",
    "Send one manifest for each file.",
)
FILES_MIXED = FaultMessage(
    "files_mixed",
    "files[] has files of several types",
    "The files are of different types: {types}.",
    "Send one manifest for each type.",
)

MEMBER_NOT_OF_FORMAT = FaultMessage(
    "member_not_of_format",
    "files[].member is given for a format that is not read from archives",
    "{format} is not read from archives.",
    "Remove member. Formats that may be zipped: {zipped}.",
)

_LAYERS_INVALID = "files[].layers is empty, or names a layer twice"
LAYERS_NONE = FaultMessage(
    "layers_invalid",
    _LAYERS_INVALID,
    "layers is empty, or has other names beside {all}.",
    "Name at least one layer, or write {all} alone for all layers.",
)
LAYERS_REPEATED = FaultMessage(
    "layers_invalid", _LAYERS_INVALID, "layers names {name} more than once.", "Name each layer once."
)
_LAYERS_MISPLACED = "files[].layers is given beside files[].layer, or for a file that is no vector file"
LAYERS_BESIDE_LAYER = FaultMessage(
    "layers_not_allowed",
    _LAYERS_MISPLACED,
    "The file has both layer and layers.",
    "Remove one of them: layers takes one name too.",
)
LAYERS_NOT_OF_TYPE = FaultMessage(
    "layers_not_allowed",
    _LAYERS_MISPLACED,
    "layers is for vector files, and this file is declared as {declared}.",
    "Remove it.",
)

# files[].options

_CONTRADICTION = "two options contradict each other"
HEADER_CONTRADICTED = FaultMessage(
    "options_contradict",
    _CONTRADICTION,
    "header_row names the header, and header says that there is no header.",
    "Remove one of the two. To leave out rows before the data, use skip_rows.",
)
MARKS_CONTRADICTED = FaultMessage(
    "options_contradict",
    _CONTRADICTION,
    "{mark} is both the decimal mark and what stands between groups of digits.",
    "Set decimal to the other mark, or remove thousands.",
)
ESCAPE_CONTRADICTED = FaultMessage(
    "options_contradict",
    _CONTRADICTION,
    "The backslash is both the delimiter and the escape character.",
    "Correct delimiter, or remove escape.",
)
UNION_DIFFERS = FaultMessage(
    "union_differs",
    "files state different ways to become one",
    "The option union is {value}, and {other} in /files/{first}.",
    "State the same union in all files, or in one of them: it holds for all.",
)
DATE_FORMAT_INVALID = FaultMessage(
    "date_format_invalid",
    "files[].options.date_format is not a date format",
    "{value} is not a date format: {problem}.",
    "Use dmy, mdy, ymd, or a format with day, month and year, such as %d.%m.%Y. Supported: {known}, %%.",
)

OPTION_NOT_OF_FORMAT = FaultMessage(
    "option_not_of_format",
    "the reader of the format does not have this option",
    "The option {name!r} does not apply to {format}.",
    "Remove it. Options of {format}: {known}.",
)
GEOMETRY_COLUMNS_UNCLEAR = FaultMessage(
    "geometry_columns_unclear",
    "files[].options.geometry does not name one way to find the coordinates",
    "geometry names {found}.",
    "Name the columns x and y, or the column wkt, or the column wkb, and the crs of their coordinates.",
)
GEOMETRY_CRS_UNKNOWN = FaultMessage(
    "geometry_crs_unknown",
    "files[].options.geometry.crs names no CRS that PROJ knows",
    "{value} does not name a CRS of x and y that PROJ knows.",
    "Write a code such as EPSG:4326 for degrees of longitude and latitude or EPSG:25832 for UTM zone 32, or WKT.",
)
GEOMETRY_CRS_TWICE = FaultMessage(
    "options_contradict",
    _CONTRADICTION,
    "Both files[].crs and options.geometry.crs are given.",
    "Remove files[].crs: the CRS of coordinates in columns is that of options.geometry.",
)
GEOMETRY_NOT_OF_INTENT = FaultMessage(
    "option_not_of_intent",
    "the intent has no use for this option",
    "{intent} makes no geometries, so the option 'geometry' does not apply.",
    "Remove it, or use ingest_vector, which makes GeoParquet of the table.",
)
AREA_WITHOUT_GEOMETRY = FaultMessage(
    "option_not_of_intent",
    "the intent has no use for this option",
    "The table has no options.geometry, so the option 'area_of_use' does not apply.",
    "Remove it, or name the columns with the coordinates in options.geometry.",
)
ENCODING_UNKNOWN = FaultMessage(
    "encoding_unknown",
    "an unknown encoding",
    "Unknown encoding {name}.",
    "Use a name such as UTF-8, ISO-8859-1 or CP1252.",
)
TYPE_UNKNOWN = FaultMessage(
    "type_unknown",
    "files[].options.types has an unknown type",
    "Unknown column type {name}.",
    "Use text, int64, float64, decimal(p,s) with p up to 38, bool, date, timestamp, timestamp_utc or time.",
)
DELIMITER_INVALID = FaultMessage(
    "delimiter_invalid",
    "files[].options.delimiter or .quote cannot be one",
    "{value!r} cannot be a delimiter.",
    "Use one ASCII character other than a letter, digit, quotation mark or line end.",
)

# metadata

TAG_TOO_LONG = FaultMessage(
    "tag_too_long",
    "a tag has too many characters",
    "A tag has {length:,} characters.",
    "Give at most {limit:,} characters.",
)
TAG_TYPE = FaultMessage(
    "tag_type",
    "a tag has a value of another type",
    "A tag is {value}.",
    "Tags are strings, 64-bit integers, floats or booleans.",
)
DATASET_ID_INVALID = FaultMessage(
    "dataset_id_invalid",
    "metadata.tags.dataset_id cannot be the name of a dataset",
    "Not a dataset id: {value}.",
    "Use 1 to 128 of A-Z a-z 0-9 . _ -, starting with a letter or digit, or leave the tag out.",
)
TESTING_INVALID = FaultMessage(
    "testing_invalid", "metadata.tags.testing is not true or false", "testing is {value}.", "Use true or false."
)
JOIN_CONFIG_MISSING = FaultMessage(
    "join_config_missing",
    "the intent needs metadata.join_config",
    "{intent} needs a join_config.",
    "Give metadata.join_config with spatial_dataset_id, tabular_dataset_id and left_key.",
)
JOIN_CONFIG_NOT_ALLOWED = FaultMessage(
    "join_config_not_allowed",
    "the intent has no use for metadata.join_config",
    "{intent} takes no join_config.",
    "Remove it, or use the intent join_datasets.",
)

# recipe

RECIPE_NOT_ALLOWED = FaultMessage(
    "recipe_not_allowed",
    "a recipe is given for files that have none",
    "{subject} no recipe.",
    "Remove it: a recipe is for vector files.",
)
_COLUMNS = "fields of recipe.columns contradict each other or themselves"
SELECT_AND_DROP = FaultMessage(
    "columns_contradict",
    _COLUMNS,
    "Both select and drop are given.",
    "Give only select, with the columns to keep, or only drop, with those to leave out.",
)
COLUMN_REPEATED = FaultMessage(
    "columns_contradict", _COLUMNS, "Listed more than once: {names}.", "List each column once."
)
RENAMED_NOT_KEPT = FaultMessage(
    "columns_contradict",
    _COLUMNS,
    "Columns that are left out have new names: {names}.",
    "Remove them from rename, or keep them: add them to select, or remove them from drop.",
)
RENAMED_TWICE = FaultMessage(
    "columns_contradict",
    _COLUMNS,
    "Several columns get the same name (case is ignored): {names}.",
    "Give each column another name.",
)
RENAMED_TO_GEOMETRY = FaultMessage(
    "columns_contradict",
    _COLUMNS,
    "New names that are {geometry!r} (case is ignored), the column of the geometries, of: {names}.",
    "Choose other names.",
)
WHERE_SYNTAX = FaultMessage(
    "where_syntax",
    "recipe.where is not CQL2 text",
    "Not CQL2 text at character {at:,}: {near}.",
    "Correct it there. An example: area > 100 AND (name LIKE 'A%' OR name IS NULL).",
)
WHERE_COMPLEX = FaultMessage(
    "where_too_complex",
    "recipe.where has too many operators or parentheses inside each other",
    "The condition has more than {operators} operators, or more than {parentheses} parentheses inside each other.",
    "Write lists of values with IN, and leave out parentheses.",
)
WHERE_NOT_SUPPORTED = FaultMessage(
    "where_not_supported",
    "recipe.where has a part that is not supported, or whose parts do not fit together",
    "{problems}",
    "Correct all of it. Text is written '…', dates DATE('2026-01-31'); columns as in the source, in \"…\" if needed.",
)
CRS_INVALID = FaultMessage(
    "crs_invalid",
    "a recipe names no CRS",
    "{value} does not name a CRS.",
    "Write a code such as EPSG:25832, WKT of at most {limit:,} characters, or source to keep the CRS of the files.",
)
