"""Everything that hands in a manifest: REST, bucket events, files dropped into the landing zone; and plans."""
