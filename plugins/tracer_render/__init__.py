"""Pictures of traced graphs: SVG, PNG, PDF, DOT, Mermaid, JSON and HTML, and what colours them."""
