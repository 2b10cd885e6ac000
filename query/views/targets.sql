-- One row is one target that sessions were opened to.
--
-- target         its name, as the gateway has it, and as `sessions` shows it: one of a session
-- is_privileged  a rule of `privileged` names it
SELECT t.target, bool_or(p.name IS NOT NULL) AS is_privileged
FROM (SELECT DISTINCT target FROM sessions WHERE target IS NOT NULL) t
-- Different targets and rules are few: each rule against each target, whose `*` stands for any end.
LEFT JOIN privileged p
  ON p.kind = 'target'
  AND (t.target = p.name OR (ends_with(p.name, '*') AND starts_with(t.target, rtrim(p.name, '*'))))
GROUP BY t.target
