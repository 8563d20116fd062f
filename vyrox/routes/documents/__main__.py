"""Write the OpenAPI document to standard output."""

import sys

from vyrox.routes.documents.openapi import document

sys.stdout.buffer.write(document())
