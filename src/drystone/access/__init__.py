"""Who may do what: workspaces, keys, principals, and the audit trail of every change."""
