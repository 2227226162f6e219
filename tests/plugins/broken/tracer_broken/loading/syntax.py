"""SyntaxError"""

exec(compile("def (", __file__, "exec"))  # in a file that is cut off, say
