"""The big files that roles install: which are pinned, where they come from, a site's own copy."""
