"""The explorer: features of images as one HTML file that compares methods in the browser, without server or network.

`data` reduces and quantises features, `page` writes a file of them, `template.html`, `body.html`, `explorer.css` and
`explorer.js`, and `notebook` shows results in notebooks.
"""

from dvt.viz.explorer.data import ExplorerImage, image_data
from dvt.viz.explorer.page import explorer_frame, explorer_page, write_explorer

__all__ = ["ExplorerImage", "explorer_frame", "explorer_page", "image_data", "write_explorer"]
