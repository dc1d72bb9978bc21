"""Options for both copies of libgdal, pyogrio's and rasterio's, that switch off network access and external references.

They are set each time a file is opened, and in the environment of a worker, where PROJ also reads them.
"""

from __future__ import annotations

from types import MappingProxyType

SAFE_OPTIONS = MappingProxyType(
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
# For the environment of a worker. GDAL_CONFIG_FILE: otherwise the gdalrc files of the host and the user are read.
ENVIRONMENT = MappingProxyType({**SAFE_OPTIONS, "GDAL_CONFIG_FILE": "/dev/null"})
