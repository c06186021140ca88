# Filters: the keys and sizes that are mirrored. The workers apply them, see lambda/s3_syncer/core/filters.py. Here the plan
# checks them, because an invalid pattern would otherwise stop each worker at its start.

locals {
  # Only the filters that are set: the environment of a function has at most 4 KB. A pattern contains no line break.
  filter_variables = { for name, value in {
    S3_SYNCER_INCLUDE  = join("\n", var.filters.include)
    S3_SYNCER_EXCLUDE  = join("\n", var.filters.exclude)
    S3_SYNCER_MIN_SIZE = var.filters.min_size == null ? "" : var.filters.min_size
    S3_SYNCER_MAX_SIZE = var.filters.max_size == null ? "" : var.filters.max_size
  } : name => value if value != "" }

  # The tokens of each pattern: a regular expression in {{}}, a set in [], an escaped character, asterisks, another
  # character. "{{" alone is a regular expression without its end.
  filter_tokens = { for pattern in distinct(concat(var.filters.include, var.filters.exclude)) : pattern =>
    regexall("(?s)\\{\\{.*?\\}\\}+|\\[[^\\[\\]]+\\]|\\\\.|\\*+|\\{\\{|.", pattern)
  }

  # Parts of a regular expression that Go and Python do not read alike.
  other_in_python = "\\(\\?[^:]|\\[\\[:|\\\\[1-9CEGKNpPQRUuXZz]"

  invalid_patterns = [for pattern, tokens in local.filter_tokens : pattern if anytrue(concat(
    [pattern == "", can(regex("[\\r\\n]", pattern))],
    [for token in tokens : (
      contains(["[", "]", "\\", "{{"], token) ? true :
      startswith(token, "{{") ? !can(regexall(trimsuffix(trimprefix(token, "{{"), "}}"), "")) || can(regex(local.other_in_python, token)) :
      startswith(token, "[") ? !can(regexall(token, "")) :
      startswith(token, "\\") ? !can(regex("^\\\\([^A-Za-z0-9\\x{80}-\\x{10FFFF}]|[aAbBdDfnrsStvwW])$", token)) :
      startswith(token, "***")
    )],
    # Braces in pairs, up to four levels deep.
    [replace(join("", [for token in tokens : token if contains(["{", "}"], token)]), "/\\{(\\{(\\{(\\{\\})*\\})*\\})*\\}/", "") != ""],
  ))]

  filter_sizes = { for name, text in { min = var.filters.min_size, max = var.filters.max_size } : name =>
    try(regex("^([0-9]+\\.?[0-9]*|\\.[0-9]+)(?:(B)|([KMGTPE])(?:IB?)?)?$", upper(text)), null)
  }

  # In bytes. Null is no limit.
  filter_bytes = { for name, size in local.filter_sizes : name =>
    size == null ? null : tonumber("0${trimsuffix(size[0], ".")}") * pow(1024, size[1] != null ? 0 : index(["B", "K", "M", "G", "T", "P", "E"], coalesce(size[2], "K")))
  }
}
