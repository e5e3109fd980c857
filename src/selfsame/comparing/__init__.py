"""Two systems or more, compared with each other: in pairs, over seeds, page by page, by a judge."""
