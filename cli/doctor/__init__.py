"""`darkroom doctor`: looks at everything that a service needs, and says of each fault how to mend it."""
