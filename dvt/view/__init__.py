"""The live app of `dvt view`: images are given in the browser, and their features appear in the explorer.

`offer` says what can be chosen, `jobs` computes one image after another in a thread, `app` has the routes, `access`
decides who may ask, `server` opens the port. `view.html`, `view.css` and `view.js` are put around the explorer of
`dvt.viz`.
"""
