"""The backtest's report: one HTML page that needs no network, no script and no other file.

page      the whole page
sections  its parts
plots     curves, heat map, bars, as inline SVG
scales    from values to places, and their ticks
markup    elements with everything in them escaped
words     figures as people read them
report.css  its look, light and dark, wide and narrow
"""
