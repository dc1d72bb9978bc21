"""Answers of the service that schemathesis would report, and why each of them is right.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS). Nothing is excused but by the stable code of its problem.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.core.failures import Failure, ServerError
from schemathesis.specs.openapi.checks import RejectedPositiveData

_PATH = "a path has to lie in the landing zone"
_BETWEEN = "one field of the manifest forbids another"
_NAME = "a name out of a table that takes it in any spelling"
# Faults of requests that fit their schema: what JSON Schema cannot say, or what the document leaves to the answer,
# because the answer names the nearest right one.
REFUSED = {
    "cursor_invalid": "a cursor is good only where the Link of a page gave it",
    "key_invalid": "a key with an empty or dotted part, of too many bytes, or that is no text",
    "bbox_invalid": "numbers beyond the globe, or the wrong way round",
    "tag_invalid": "a tag to search for has a name and a value",
    "keyword_empty": "a keyword to search for is not only white space",
    "text_empty": "a search has at least one letter or digit",
    "time_out_of_range": "no ledger keeps it, and a schema has no least time",
    "size_not_bound": "one field forbids another",
    "path_bucket": _PATH,
    "path_scheme": _PATH,
    "path_key": _PATH,
    "path_traversal": _PATH,
    "path_duplicate": _BETWEEN,
    "layers_invalid": "* stands alone, and names that differ by blanks are the same",
    "empty": "a name of white space only: what counts as white space is not the same in all grammars",
    "layers_not_allowed": _BETWEEN,
    "pattern_unmatched": "what a pattern stands for depends on what is in the landing zone",
    "pattern_too_many": "as above",
    "files_missing": _BETWEEN,
    "files_not_allowed": _BETWEEN,
    "files_too_many": _BETWEEN,
    "files_mixed": _BETWEEN,
    "type_not_of_intent": _BETWEEN,
    "format_type_mismatch": _BETWEEN,
    "option_not_of_format": _BETWEEN,
    "option_not_of_intent": _BETWEEN,
    "geometry_columns_unclear": _BETWEEN,
    "geometry_crs_unknown": "a CRS is a code of PROJ's database, WKT or a PROJ string",
    "options_contradict": _BETWEEN,
    "union_differs": _BETWEEN,
    "member_not_of_format": _BETWEEN,
    "date_format_invalid": "the grammar of strptime is not one of JSON Schema",
    "dataset_id_invalid": "the name of a dataset is a tag among others that may be anything",
    "testing_invalid": "so is the mark of a test run",
    "join_config_missing": _BETWEEN,
    "join_config_not_allowed": _BETWEEN,
    "columns_contradict": _BETWEEN,
    "dataset_id_differs": _BETWEEN,
    "check_incomplete": _BETWEEN,
    "check_contradicts": _BETWEEN,
    "check_own_dataset": _BETWEEN,
    "checks_not_allowed": _BETWEEN,
    "check_not_of_kind": _BETWEEN,
    "check_value": "values of a list have to be comparable",
    "check_unknown": _NAME,
    "where_syntax": "the grammar of CQL2 is not one of JSON Schema",
    "where_not_supported": "as above",
    "where_too_complex": "as above",
    "where_types": "as above",
    "intent_unknown": _NAME,
    "crs_invalid": "a CRS is a code, WKT, a PROJ string or the word source",
    "recipe_not_allowed": _BETWEEN,
    "format_unknown": _NAME,
    "encoding_unknown": _NAME,
    "type_unknown": _NAME,
    "delimiter_invalid": "a character that stands between columns is no letter, digit, quotation mark or line end",
    "manifest_too_complex": "the number of values in all of a document",
    "faults_omitted": "the number of those that are not listed, beside the others",
    "int_type": "1.0 is an integer to JSON Schema; a version is written without a point",
    "text_invalid": "text that not every ledger keeps: NUL and lone surrogates",
}
# Refusals of 410: what was there when schemathesis learnt of it.
GONE = {
    "manifest_removed": "a clean-up has removed it",
    "version_deleted": "somebody has deleted it",
}
# Answers of 500 and above to requests that are right.
NOT_OFFERED = {
    "presign_unsupported": "the local store has no URLs to hand out, and 501 says that no other request will do better",
}


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Whether it is a failure."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 422:
        problem = response.json()
        codes = {fault["code"] for fault in problem["errors"]} or {problem["code"]}
        return not codes <= REFUSED.keys()
    if isinstance(failure, RejectedPositiveData) and response.status_code == 413:
        return response.json()["code"] != "body_too_large"
    if isinstance(failure, RejectedPositiveData) and response.status_code == 410:
        return response.json()["code"] not in GONE
    if isinstance(failure, ServerError):
        return response.json()["code"] not in NOT_OFFERED
    return True
