"""Tools of servers of the Model Context Protocol, which the operator lists."""
