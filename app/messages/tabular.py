"""Messages about tables."""

from __future__ import annotations

from app.messages.common import REPORT_DEFECT
from app.messages.message import Notice, Refusal

_NO_ROWS = "a table or a join has no rows"
_RESAVE = "Save it again with a spreadsheet program."
_SEND_DATA = "Send a file with at least one row."

# Files and archives

FORMAT_NOT_TABULAR = Refusal(
    "format_not_tabular",
    "the declared format is not one for tables",
    "{file} is declared as {format}, which is not a format for tables.",
    "Set files[].format to one of: {formats}.",
)
NOT_JSON_LINES = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as {format}, but its content is {found}.",
    "Send one JSON object per line, without an array around them, or correct files[].format.",
)
NOT_A_WORKBOOK = Refusal(
    "content_mismatch",
    "the content of a file is not of the declared format",
    "{file} is declared as {format}, but its content is {found}.",
    "Save it as an Excel workbook (.xlsx) without a password, or correct files[].format.",
)
COMPRESSED_DAMAGED = Refusal(
    "archive_invalid",
    "an archive is damaged or truncated",
    "The archive {file} is damaged or truncated.",
    "Compress and upload it again; `gzip -t` or `zstd -t` must report no error.",
)

# Text, delimiters and headers

ENCODING_UNKNOWN = Refusal(
    "encoding_unknown",
    "the declared encoding is unknown, or is not one for this kind of text",
    "{file}: {encoding!r} is not a text encoding.",
    "Set files[].options.encoding to a name such as UTF-8, ISO-8859-1 or CP1252.",
)
ENCODING_WRONG = Refusal(
    "encoding_wrong",
    "text is not in the encoding that the source or the manifest names",
    "{file} is not {encoding}: {number:# byte is|# bytes are} not valid, the first at byte {position}.",
    "Correct or remove files[].options.encoding.",
)
ENCODING_MIXED = Refusal(
    "encoding_missing",
    "no encoding is declared, and the content does not show which one it is",
    "{file} mixes encodings: {good:# character|# characters} outside ASCII {good:is|are} UTF-8, {bad:# byte is|# bytes "
    "are} not, the first (0x{byte:02x}) at byte {position}.",
    "Set files[].options.encoding, or save the file again in one encoding.",
)
ENCODING_MISSING = Refusal(
    "encoding_missing",
    "no encoding is declared, and the content does not show which one it is",
    "{file} is neither UTF-8 nor CP1252: byte 0x{byte:02x} at byte {position}.",
    "Set files[].options.encoding.",
)
ENCODING_ASSUMED = Notice(
    "encoding_assumed",
    "the encoding of a text is assumed from its bytes",
    "Read {file} as CP1252, because it is not UTF-8 and no encoding is declared. If the samples look wrong, set "
    "files[].options.encoding.",
)
TEXT_NUL_BYTES = Refusal(
    "nul_bytes",
    "a text or a column name has a zero byte",
    "{file} has a zero byte at byte {position}, read as {encoding}.",
    "If the file is UTF-16 without a byte order mark, set files[].options.encoding to UTF-16-LE or UTF-16-BE. "
    "Otherwise remove the zero bytes.",
)
NAME_NUL_BYTES = Refusal(
    "nul_bytes",
    "a text or a column name has a zero byte",
    "{file}: the name of column {number}, {name!r}, has a zero byte.",
    "Rename the column.",
)
NAME_TOO_LONG = Refusal(
    "header_too_long",
    "a column name is too long",
    "{file}: the name of column {number} has {length:# character|# characters}. It begins with {name!r}.",
    "Use names of at most {limit:# character|# characters}. If the file has no header, set options.header to false.",
)
HEADER_INVALID = Refusal(
    "header_invalid",
    "the first record of a delimited file cannot be read",
    "{file}: the first record cannot be read: {fault}. It is {record!r}.",
    "Correct the record, or files[].options.encoding, .quote or .delimiter.",
)
SKIPPED_ALL = Refusal(
    "no_rows",
    _NO_ROWS,
    "{file} has no rows after the {skipped:# row|# rows} that options.skip_rows and options.header_row leave out.",
    "Lower options.skip_rows or options.header_row.",
)
SKIPPED_TOO_LARGE = Refusal(
    "skipped_too_large",
    "the rows that options leave out before a table have too many bytes",
    "{file}: the {skipped:# line|# lines} before the table have more than {limit:# byte|# bytes}.",
    "Lower options.skip_rows or options.header_row, or raise SPATIAL_ETL_LIMITS__ROW_BYTES.",
)
HEADER_NUMERIC = Notice(
    "header_numeric",
    "the header looks like a row of data",
    "Used the first row of {file} as its header, although it looks like data. If it is data, set options.header to "
    "false.",
)
DELIMITER_ENDS_ROWS = Notice(
    "delimiter_ends_rows",
    "a delimiter at the end of the rows of a delimited file, behind the last column",
    "Ignored the delimiter {delimiter!r} at the end of the rows of {file}: the header has no column there, and no "
    "value follows it.",
)
DELIMITER_AMBIGUOUS = Refusal(
    "delimiter_ambiguous",
    "the delimiter cannot be found from the content",
    "{file}: the delimiter is not clear. Possible delimiters: {found}.",
    "Set files[].options.delimiter. If the first record is not a header, set options.header to false; if lines stand "
    "before the header, set options.skip_rows to their number.",
)
FIRST_RECORD_DIFFERS = Refusal(
    "delimiter_ambiguous",
    "the delimiter cannot be found from the content",
    "{file}: divided at each {delimiter}, the first record has {first:# column|# columns}, and {count} of "
    "{records:# record|# records} have {columns}.",
    "{advice}",
)
ROW_TOO_LARGE = Refusal(
    "row_too_large",
    "a row has too many bytes",
    "{file} has a row of more than {limit:# byte|# bytes}. It begins at byte {position}.",
    "Close the quotation mark, if one is open, or raise SPATIAL_ETL_LIMITS__ROW_BYTES.",
)

# Workbooks and Parquet

SHEET_UNKNOWN = Refusal(
    "sheet_unknown",
    "a workbook has no sheet of the declared name",
    "{file} has no sheet {sheet!r}.",
    "{hint}Its sheets: {sheets}.",
)
SHEET_AMBIGUOUS = Refusal(
    "sheet_ambiguous",
    "several sheets have values and none is named",
    "{file} has {number} sheets with values: {sheets}.",
    "Set files[].options.sheet to one of them.",
)
WORKBOOK_DAMAGED = Refusal("file_damaged", "a file is damaged", "{file} is a damaged workbook: {found}.", _RESAVE)
WORKBOOK_DOCTYPE = Refusal(
    "xml_doctype",
    "an XML document has a DOCTYPE",
    "{file} has a DOCTYPE in its part {part!r}, which can refer to entities and other files.",
    _RESAVE,
)
CELLS_ERROR = Notice(
    "cells_error",
    "cells with errors, stored as nulls",
    "Stored {count:# cell|# cells} of {file} with {count:an error as null|errors as nulls}.",
)
DATES_ZERO = Notice(
    "dates_zero",
    "cells of a column of dates with the number 0, stored as nulls",
    "Stored {count:# cell|# cells} of {file} as {count:null|nulls}: the number is 0 in a column of dates, and "
    "spreadsheet programs show it as the day 0 of January 1900.",
)
CELLS_MERGED = Notice(
    "cells_merged",
    "merged ranges, whose value is in their first cell",
    "Kept the value of {count:# merged range|# merged ranges} of {file} in {count:its|their} first cell only.",
)
TYPED_TABLE_DAMAGED = Refusal(
    "file_damaged",
    "a file is damaged",
    "{file} cannot be read as {format}: it is damaged, or uses a feature that is not supported.",
    "Write the file again and upload it.",
)

# Columns, types and rows

COLUMN_VALUE_INVALID = Refusal(
    "geometry_damaged",
    "a geometry cannot be read",
    "{file}: row {row} cannot be read: {reason} (rows count from 0).",
    "Correct the value, or write null where a row has no geometry.",
)
TYPES_MIXED = Notice(
    "types_mixed",
    "columns or keys with values of several types, kept as text",
    "Kept the column {column!r} of {file} as text, because its cells have several types: {found}.",
)
TEXTS_BLANK = Notice(
    "types_mixed",
    "columns or keys with values of several types, kept as text",
    "Kept the column {column!r} of {file} as text, because its cells have several types: {found}. All of the texts are "
    "blank: files[].options {options} makes them null.",
)
KEYS_MIXED = Notice(
    "types_mixed",
    "columns or keys with values of several types, kept as text",
    "Kept {count:# key|# keys} of {file} as text, because {count:its|their} values have several JSON types: {keys}.",
)
NUMBER_AS_TEXT = Notice(
    "number_as_text",
    "columns of text that look like numbers; the warning names the options that read them, or says why none does",
    "Kept the column {column!r} as text, although its values look like numbers. {advice}",
)
DATE_AS_TEXT = Notice(
    "date_as_text",
    "columns of text that look like dates; the warning names the options that read them, or says why none does",
    "Kept the column {column!r} as text, although its values look like dates. {advice}",
)
COORDINATES_FOUND = Notice(
    "coordinates_found",
    "columns of a table that look like coordinates; only a plan says so",
    "The columns {columns} of {file} look like coordinates. To make features of the rows, use the intent ingest_vector "
    "with files[].options {options}, if that is their CRS.{hint}",
)
LINES_BLANK = Notice(
    "lines_blank", "blank lines, which were ignored", "Ignored {count:# blank line|# blank lines} in {file}."
)
ROWS_NULL_FILLED = Notice(
    "rows_null_filled",
    "rows with fewer fields than the header, which got nulls because options.short_rows says so",
    "Filled {count:# row|# rows} of {file} with nulls, because {count:it has|they have} fewer fields than the header.",
)
ROWS_QUARANTINED = Notice(
    "rows_quarantined",
    "rows that could not be read, kept in quarantine.parquet",
    "Moved {count:# row|# rows} of {file} to quarantine.parquet ({worst}).",
)
QUARANTINE_TOO_LARGE = Refusal(
    "rows_quarantined",
    "too many rows cannot be read",
    "{file}: {lines_quarantined} of {lines:# line|# lines} cannot be read as rows ({worst}), more than {share:.2%}.",
    "Correct the file or files[].options. If the other rows are enough, set files[].options.quarantine_share to the "
    "share that may be left out.",
)
TABLE_ROWS_LOST = Refusal(
    "rows_lost",
    "a defect of the service: rows were lost",
    "{file}: {read:# row|# rows} read, {written} written, {quarantined} quarantined.",
    REPORT_DEFECT,
)
BLOCK_ROWS_LOST = Refusal(
    "rows_lost",
    "a defect of the service: rows were lost",
    "{file}: {counted:# row|# rows} counted in one block, {read} read.",
    REPORT_DEFECT,
)

# No rows

BLANK_FILE = Refusal("no_rows", _NO_ROWS, "{file} has no rows: all of its lines are blank.", _SEND_DATA)
HEADER_ONLY = Refusal("no_rows", _NO_ROWS, "{file} has a header but no rows.", _SEND_DATA)
ALL_QUARANTINED = Refusal("no_rows", _NO_ROWS, "{file} has no rows: none of its lines can be read.", _SEND_DATA)
NO_JSON_KEYS = Refusal("no_rows", _NO_ROWS, "{file} has no line with a JSON object that has a key.", _SEND_DATA)
SHEET_EMPTY = Refusal("no_rows", _NO_ROWS, "{file} has no rows: its sheet {sheet!r} is empty.", _SEND_DATA)
SHEETS_EMPTY = Refusal("no_rows", _NO_ROWS, "{file} has no rows: all of its sheets are empty: {sheets}.", _SEND_DATA)
SCHEMA_ONLY = Refusal("no_rows", _NO_ROWS, "{file} has a schema but no rows.", _SEND_DATA)
