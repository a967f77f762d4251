"""The report: one HTML file that opens offline, and figures and tables for papers.

`collect` asks the store, `page` makes the file of `page.html`, `page.css` and the scripts, `static` draws with
matplotlib. The scripts: `ranking.js` ranks as the SQL does, `state.js` keeps the view in the address, `table.js`,
`explore.js` and `model.js` are the three views, `charts.js` brings up Vega when the first chart is asked for.
"""
