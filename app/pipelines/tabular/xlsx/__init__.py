"""XLSX: workbooks, their styles and cells."""
