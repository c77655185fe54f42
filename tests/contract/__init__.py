"""The stand-ins and the product against Atlassian's own OpenAPI documents."""
