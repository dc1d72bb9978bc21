"""What both copies of libgdal, pyogrio's and rasterio's, are told before they look at a file: every side door is shut.

Set for each opening, and in the environment of a worker as well, where also PROJ looks.
"""

from __future__ import annotations

from types import MappingProxyType

SHUT = MappingProxyType(
    {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
        "CPL_VSIL_CURL_USE_HEAD": "NO",
        "GDAL_HTTP_MAX_RETRY": "0",
        "GDAL_PAM_ENABLED": "NO",
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
        "GML_DOWNLOAD_SCHEMA": "NO",
        "GML_SKIP_RESOLVE_ELEMS": "ALL",
        "LIBKML_RESOLVE_STYLE": "NO",
        "OGR_SQLITE_LOAD_EXTENSIONS": "",
        "OGR_SQLITE_PRAGMA": "",
        "PROJ_NETWORK": "OFF",
    }
)
# Beside them in a worker's environment. GDAL_CONFIG_FILE: else the gdalrc of the host and of its user are read.
ENVIRONMENT = MappingProxyType({**SHUT, "GDAL_CONFIG_FILE": "/dev/null"})
