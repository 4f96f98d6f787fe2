"""Tools of MCP (Model Context Protocol) servers that the operator lists."""
