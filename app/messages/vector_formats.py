"""Messages about the formats of vector sources."""

from __future__ import annotations

from app.messages.common import UPLOAD_AGAIN
from app.messages.message import Notice, Refusal
from app.messages.vector import REAL_ENCODING, UNDAMAGED

# GeoPackage

GPKG_DAMAGED = Refusal("file_damaged", "a file is damaged", "{file} is a damaged GeoPackage: {error}.", UNDAMAGED)
GPKG_VIRTUAL_TABLE = Refusal(
    "gpkg_virtual_table",
    "a layer of a GeoPackage is a virtual table, which could run code or read other files",
    "{file}: layer {table!r} is a virtual table of the module {module!r}.",
    "Save the layer as a table and send that, or name another layer in `files[].layer`.",
)
GPKG_SET_ASIDE = Notice(
    "layers_ignored",
    "layers without geometries, where all layers are asked for; virtual tables of a GeoPackage",
    "{file}: ignored {count:# virtual table|# virtual tables} of other programs: {names}.",
)
GPKG_VIEW = Refusal(
    "gpkg_view",
    "a layer of a GeoPackage is a view",
    "{file}: layer {layer!r} is a view. Reading it would run SQL from the file.",
    "Save the view as a table and send that.",
)
GPKG_COLUMN_TYPES = Refusal(
    "column_type_unknown",
    "a GeoPackage declares types that are not in its standard",
    "{file}: columns of layer {layer!r} have types that GeoPackage does not define: {columns}.",
    "Declare them with types of GeoPackage, such as TEXT, INTEGER, REAL, DATE or DATETIME.",
)
GPKG_JOURNAL = Refusal(
    "gpkg_journal",
    "a GeoPackage was copied while a program was writing to it",
    "{file} is in the middle of a change: {journal} beside it has what SQLite needs to undo it.",
    "Open the original with the program that wrote it, for example QGIS, close it, and upload the file again.",
)
GPKG_WAL_UNFIT = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file}: the changes in {wal} do not fit it ({error}).",
    "Close the programs that have the GeoPackage open, then upload it again, with its -wal file if there still is one.",
)
GPKG_WAL_APPLIED = Notice(
    "gpkg_wal",
    "a GeoPackage whose last changes are, or may be, in a -wal file beside it",
    "{file}: read with the changes in {wal}, which are not in the GeoPackage itself yet.",
)
GPKG_WAL_UNFINISHED = Notice(
    "gpkg_wal",
    "a GeoPackage whose last changes are, or may be, in a -wal file beside it",
    "{file}: left out {pages:# page|# pages} of changes in {wal} that are damaged or were not finished.",
)
GPKG_WAL_MISSING = Notice(
    "gpkg_wal",
    "a GeoPackage whose last changes are, or may be, in a -wal file beside it",
    "{file} was written with a write-ahead log, and no {wal} is beside it. If a program had it open when it was "
    "copied, the last changes are missing: upload that file too.",
)
GPKG_VALUE = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file}: column {column!r} of row {row} has the value {value}, which does not fit the type {expected} "
    "(rows count from 0).",
    "Correct the value, set it to NULL, or give column {column!r} a type that fits its values.",
)
GPKG_GEOMETRY = Refusal(
    "geometry_damaged",
    "a geometry cannot be read",
    "{file}: column {column!r} of row {row} has the value {value}, which is not a geometry (rows count from 0).",
    "Correct the geometry, or set it to NULL.",
)

# Shapefiles

SIDECAR_MISSING = Refusal(
    "sidecar_missing",
    "a required file of a shapefile is not there",
    "{file}: its {suffix} file is missing.",
    "Upload {name} beside it, or send a zip archive with all files of the shapefile.",
)
SHP_RECORD = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} is damaged: {found} (records count from 0).",
    "Send the .shp and the .shx of the same, undamaged shapefile.",
)
DBF_TRUNCATED = Refusal("file_truncated", "a file ends too early", "{file}: its .dbf is truncated.", UPLOAD_AGAIN)
DBF_ROWS_TRUNCATED = Refusal(
    "file_truncated",
    "a file ends too early",
    "{file}: its .dbf is truncated. It has {size:# byte|# bytes} for {rows:# row|# rows} of {record} bytes.",
    UPLOAD_AGAIN,
)
DBF_FIELDS = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file}: its .dbf is damaged. A record has {record:# byte|# bytes}, its fields need {fields}.",
    "Send the .dbf that was written with the .shp.",
)
DBF_LEVEL_7 = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file}: its .dbf is of dBase 7, which shapefiles cannot have.",
    "Save the table as dBase IV, or send the data as GPKG.",
)
DBF_MEMO = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file}: {place} refers to block {block} of its {suffix}, which is not there (rows count from 0).",
    "Send the .dbf and the memo file that were written together.",
)
DBF_MEMOS_SHARED = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file}: rows refer to the same memos so often that they have far more text than the {size:# byte|# bytes} of its "
    "{suffix}.",
    "Send the .dbf and the memo file that were written together.",
)
DBF_FIELDS_UNREAD = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file}: {readable} of the {fields:# field|# fields} in its .dbf can be read, and some have values that do not fit "
    "their type.",
    "Send the data as GPKG.",
)
DBF_ENCODING = Refusal(
    "encoding_unknown",
    "the declared encoding is unknown, or is not one for this kind of text",
    "{file}: the text of a .dbf cannot be in {encoding} ({origin}).",
    REAL_ENCODING,
)
CPG_ENCODING = Refusal(
    "encoding_unknown",
    "the declared encoding is unknown, or is not one for this kind of text",
    "{file}: its .cpg names the unknown encoding {text!r}.",
    "Give `options.encoding`, for example CP1252.",
)
DBF_TEXT = Refusal(
    "encoding_wrong",
    "text is not in the encoding that the source or the manifest names",
    "{file}: {place}, which are not {encoding} ({origin}; rows count from 0).",
    REAL_ENCODING,
)
ENCODING_MISSING = Refusal(
    "encoding_missing",
    "no encoding is declared, and the content does not show which one it is",
    "{file} names no encoding (no .cpg, no language in the .dbf), and {place}, which are not UTF-8 "
    "(rows count from 0).",
    "Give `options.encoding`, for example CP1252 or ISO-8859-1, or send the .cpg file too.",
)

MEMO_MISSING = Notice(
    "memo_missing",
    "memo fields of a .dbf whose memo file is missing",
    "{file}: {columns} {count:has # text|have # texts} in a .dbt or .fpt file, which is missing: they are null. Upload "
    "that file beside it, or put it into the archive.",
)
DBF_RAW = Notice(
    "reader_note",
    "the reader of a source reports something",
    "{file}: kept {columns} as bytes, because {count:its type is|their types are} not known in a shapefile.",
)
DBF_ENCODING_ASSUMED = Notice(
    "encoding_assumed",
    "the encoding of a text is assumed from its bytes",
    "Read the text of {file} as {encoding}, because {why}. If the samples look wrong, set files[].options.encoding.",
)
TEXT_CUT = Notice(
    "text_cut",
    "texts or names that were cut at the width of their field, within a character",
    "{file}: left out the incomplete last character of {count:# text|# texts}, cut at the width of {count:its|their} "
    "{count:field|fields}.",
)

# GML and KML

XML_DOCTYPE = Refusal(
    "xml_doctype",
    "an XML document has a DOCTYPE",
    "{file} has a DOCTYPE, which can name entities and other files.",
    "Save it without a DOCTYPE.",
)
XML_INVALID = Refusal(
    "xml_invalid",
    "an XML document is not well-formed",
    "{file} is not well-formed XML: {error}.",
    "Correct it, `xmllint --noout` should find no error, and upload it again.",
)
XML_TRUNCATED = Refusal(
    "file_truncated", "a file ends too early", "{file} is truncated: its XML ends early ({error}).", UPLOAD_AGAIN
)
KML_SAME_COLUMN = Refusal(
    "columns_duplicate",
    "two columns have the same name",
    "{file} has Data named {name!r}, which would become the same column as {other}.",
    "Rename one of them. Names must differ in their ASCII letters and digits, case aside.",
)
KML_NAME_TWICE = Refusal(
    "columns_duplicate",
    "two columns have the same name",
    "{file} has {element} {name!r} twice (upper and lower case count as the same).",
    "Rename one of them.",
)
KML_UNDECLARED = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file} has SimpleData {name!r} without a SimpleField in a Schema. Its values would be lost.",
    "Add the SimpleField to the Schema, or use Data.",
)
KML_VALUE = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file} has the value {value!r} in SimpleData {name!r}, which its Schema declares as {type}.",
    "Correct or remove the value, or declare the field as string.",
)
KML_TIME = Refusal(
    "value_invalid",
    "a value does not fit the type of its column",
    "{file}: {column!r} of row {row} has the time {value!r}, which is not a full date, and several of its folders have "
    "the same name or number of rows (rows count from 0).",
    "Give each Folder a name that no other Folder has, or write the time as YYYY-MM-DD.",
)
KML_COORDINATES = Refusal(
    "geometry_damaged",
    "a geometry cannot be read",
    "{file}: the coordinates of row {row} have {value!r}, which does not say where a position ends and the next begins "
    "(rows count from 0, in each Folder).",
    "Write `longitude,latitude` or `longitude,latitude,height`, with blanks between positions and no other commas.",
)
KML_TRACK_POSITION = Refusal(
    "geometry_damaged",
    "a geometry cannot be read",
    "{file}: a gx:coord of row {row} has {value!r}, which is no position (rows count from 0, in each Folder).",
    "Write `longitude latitude height` with blanks between them, or remove the gx:coord and its `when`.",
)
TRACK_VALUES_DROPPED = Notice(
    "track_values_dropped",
    "what a gx:Track has for each position besides coordinates, which no column can hold",
    "{file}: left out what {count:# gx:Track has|# gx:Tracks have} for each position besides coordinates: {names}.",
)

# GeoJSON

JSON_INVALID = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file} is not valid JSON {place}: {error}.",
    "Correct it.",
)
JSON_BETWEEN_FEATURES = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file} has {found} between its features, after byte {at}.",
    "Separate features with one comma, or with line breaks in GeoJSONSeq.",
)
JSON_AFTER_FEATURES = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file} has {found} after its features, at byte {at}.",
    "Remove it.",
)
JSON_AFTER_END = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file} continues after its end with {found}.",
    "Remove what follows the closing bracket.",
)
JSON_HEAD_TOO_LARGE = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file} has more than {limit:# byte|# bytes} before its features.",
    "Put `features` first, or make the other members smaller.",
)
JSON_ROW_INVALID = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file}: row {row} is not valid JSON ({error}; rows count from 0).",
    "Correct it.",
)
JSON_COORDINATES = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file}: the coordinates of row {row} are not valid JSON ({error}; rows count from 0).",
    "Correct them.",
)
NOT_A_FEATURE = Refusal(
    "json_invalid",
    "a text is not valid JSON or not GeoJSON",
    "{file}: row {row} is not a GeoJSON feature (rows count from 0).",
    "Correct or remove it.",
)
JSON_ROW_ENCODING = Refusal(
    "encoding_wrong",
    "text is not in the encoding that the source or the manifest names",
    "{file}: row {row} is not UTF-8 at {found} (rows count from 0).",
    "Give the real encoding in `options.encoding`, for example CP1252, or save the file as UTF-8.",
)
JSON_TRUNCATED = Refusal("file_truncated", "a file ends too early", "{file} is truncated: {found}.", UPLOAD_AGAIN)
NOT_A_COLLECTION = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as GeoJSON. Its `features` belong to an object of type {found}, not to a FeatureCollection.",
    "Convert it to GeoJSON.",
)
NOT_GEOJSON = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as GeoJSON. It is a JSON object of type {found}.",
    "Convert it to GeoJSON.",
)
ESRI_JSON = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as GeoJSON. It is Esri JSON, the format of ArcGIS.",
    "Convert it to GeoJSON, for example with ogr2ogr. A service of ArcGIS answers with GeoJSON if the request has "
    "f=geojson.",
)
JSON_ERROR = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as GeoJSON. It is an error message of a server: {error}.",
    "Download the data again, and look at the answer before you upload it.",
)
GEOJSON_CRS = Refusal(
    "crs_unknown",
    "a CRS is unknown to PROJ, is too long, or refers to another file",
    "{file}: its `crs` member {found} names no CRS. Links are not followed.",
    "Write the CRS by name, or remove the member for longitude and latitude.",
)

# GeoParquet

GEOPARQUET_NO_METADATA = Refusal(
    "geoparquet_metadata",
    "the `geo` metadata of a GeoParquet file is missing or invalid",
    "{file} is Parquet without the `geo` metadata of GeoParquet, and no column has the type GEOMETRY or GEOGRAPHY.",
    "Write it with a tool that writes GeoParquet, for example the method `to_parquet` of geopandas.",
)
GEOPARQUET_METADATA = Refusal(
    "geoparquet_metadata",
    "the `geo` metadata of a GeoParquet file is missing or invalid",
    "{file} has invalid `geo` metadata: {error}.",
    "Write the file again with valid GeoParquet metadata.",
)
GEOPARQUET_VERSION = Refusal(
    "geoparquet_version",
    "a GeoParquet version that is not supported",
    "{file} is GeoParquet {version}.",
    "Send a version from 0.1 to 2.0.",
)
GEOPARQUET_ENCODING = Refusal(
    "geoparquet_encoding",
    "geometries of a GeoParquet file are in an unknown encoding",
    "{file} has geometries in the encoding {encoding}.",
    "Write it with the geometry encoding WKB.",
)
GEOPARQUET_CRS = Refusal(
    "crs_unknown",
    "a CRS is unknown to PROJ, is too long, or refers to another file",
    "{file} has a CRS (PROJJSON) that PROJ cannot read.",
    "Write the file again, with a CRS that PROJ knows.",
)
