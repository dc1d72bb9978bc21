"""Messages about requests: their parameters and bodies, other than manifests."""

from __future__ import annotations

from app.messages.manifest import SEND_OBJECT
from app.messages.message import FaultMessage

_MISSING = "a parameter, the body, or one of its fields is missing in a request that is not a manifest"
BODY_MISSING = FaultMessage("missing", _MISSING, "The request has no body.", SEND_OBJECT)
FIELD_MISSING = FaultMessage("missing", _MISSING, "The field {name} is missing.", "Add the field.")

_UNKNOWN = "a field that the body of a request does not have, other than a manifest"
FIELD_MISSPELT = FaultMessage("extra_forbidden", _UNKNOWN, "Unknown field {name}.", "Did you mean {nearest!r}?")
FIELD_UNKNOWN = FaultMessage("extra_forbidden", _UNKNOWN, "Unknown field {name}.", "Remove it. Known here: {known}.")
CURSOR_INVALID = FaultMessage(
    "cursor_invalid",
    "a cursor is not one of this listing",
    "{cursor!r} is not a cursor of this listing.",
    "Leave it out to start from the first page, or take the cursor from the Link of the page before.",
)

QUERY_UNKNOWN = FaultMessage(
    "query_unknown", "a path does not have the query parameter", "Unknown query parameter {name}.", "{hint}{known}"
)
QUERY_REPEATED = FaultMessage(
    "query_repeated",
    "a query parameter is given several times, and takes one value",
    "The query parameter {name!r} is given {number} times; it takes one value.",
    "Give it once.",
)

# Filters

KEYWORD_EMPTY = FaultMessage(
    "keyword_empty",
    "a keyword to search for is empty",
    "The keyword is empty.",
    "Give a keyword, or leave the parameter out.",
)
TAG_INVALID = FaultMessage(
    "tag_invalid",
    "a tag to search for is not a name with a value",
    "{tag!r} is not a tag with its value.",
    "Write name:value, for example tag=region:north, tag=level:3 or tag=checked:true.",
)
TEXT_EMPTY = FaultMessage(
    "text_empty",
    "a text to search for has no letter or digit",
    "{text!r} has no letter or digit to search for.",
    "Give at least one word, or leave the parameter out.",
)

_BBOX = "bbox is not four numbers in degrees, in the right order"
_WRITE_BBOX = "Give minx,miny,maxx,maxy in degrees: 5.9,45.8,10.5,47.9; minx > maxx goes across the antimeridian."
BBOX_NOT_NUMBERS = FaultMessage("bbox_invalid", _BBOX, "{text!r} is not four numbers separated by commas.", _WRITE_BBOX)
BBOX_OUTSIDE = FaultMessage(
    "bbox_invalid",
    _BBOX,
    "{side} is {value:g}, beyond ±{most} degrees.",
    f"{_WRITE_BBOX} Longitude comes first.",
)
BBOX_REVERSED = FaultMessage("bbox_invalid", _BBOX, "miny ({miny:g}) is more than maxy ({maxy:g}).", _WRITE_BBOX)

TIME_INVALID = FaultMessage(
    "time_invalid",
    "a time is a number",
    "{value!r} is not a time with its zone.",
    "Write it as 2026-11-22T10:00:00Z.",
)
TIME_OUT_OF_RANGE = FaultMessage(
    "time_out_of_range",
    "a time is outside of the years that ledgers store",
    "{time} is outside of the years 1970 to 9998.",
    "Give a time within them.",
)

# Bodies

SIZE_NOT_BOUND = FaultMessage(
    "size_not_bound",
    "max_bytes is given for an upload URL that cannot bind the size",
    "A URL for PUT cannot bind the size.",
    "Leave max_bytes out, or use the method POST.",
)
TESTING_NOT_TRUE = FaultMessage(
    "value_error",
    "a value is not valid",
    "testing is {value}.",
    "Give true: only test runs are removed.",
)
# Its code is that of the type or limit that the value misses.
LIMIT_INVALID = FaultMessage(
    "int_type",
    "a value is not an integer",
    "{value} is not a limit.",
    "Give an integer from 1 to 1000000, 'unlimited', 'default' or null.",
)
