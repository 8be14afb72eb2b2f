"""One self-contained HTML page from results: tables, what they say, plots, panels. `page.write_page` writes it."""
