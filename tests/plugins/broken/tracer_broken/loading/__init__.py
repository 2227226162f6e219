"""Plugins that cannot be loaded. Each begins with what is said of it; `# named` is the line."""
