"""The course: a chapter is a Markdown file here, from which a notebook and a page are made."""
