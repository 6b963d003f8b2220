"""How the documentation is built: `./dev docs`."""

from waypost import __version__

project = "Waypost"
author = "The Waypost authors"
copyright = author
release = version = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = f"Waypost {release}"
html_copy_source = False
