"""The report: one HTML file that opens offline, and figures and tables for papers.

`collect` queries the store, `page` builds the file from `page.html`, `page.css` and the scripts, `static` draws with
matplotlib. The scripts: `dom.js` makes elements, `ranking.js` ranks as the SQL does, `state.js` stores the view in the
address, `table.js`, `explore.js` and `model.js` are the three views, `charts.js` loads Vega when the first chart is
needed.
"""
