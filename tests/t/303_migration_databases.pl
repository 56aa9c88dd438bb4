# Databases as applications have them: several tables that refer to each other migrate at the same time, while a twin
# database stays as it is. After every step the same statements run in both as the same ordinary role: rows, results, errors and, after
# the way back, the catalog must be the same.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Databases;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %database = (
	chinook => {
		migrations => [
			{ table => 'customer', columns => '{email, phone, fax, address, postal_code}', search => '{email, phone}' },
			{ table => 'employee', columns => '{email, phone, birth_date}', search => '{email}' },
		],
		# :n is another number each time, :e what finds an employee.
		application => q{
			insert into employee (employee_id, last_name, first_name, reports_to, birth_date, phone, email)
				values (100 + :n, 'New', 'One', 2, '1970-02-03 04:05:06', '+1 ' || :n, 'new' || :n || '@example.com');
			insert into customer (customer_id, first_name, last_name, address, postal_code, phone, email, support_rep_id)
				values (1000 + :n, 'New', 'One', 'Straße ' || :n, :n, null, 'new' || :n || '@example.org', 100 + :n),
				(2000 + :n, 'New', 'Two', null, '', '+2 ' || :n, 'two' || :n || '@example.org', 100 + :n);
			insert into invoice (invoice_id, customer_id, invoice_date, total) values (10000 + :n, 1000 + :n, '2022-01-01', 1.5);
			update customer set email = 'renamed' || :n || '@example.org', phone = null where email = 'two' || :n || '@example.org';
			update customer set phone = phone || :n, fax = '' where customer_id % 7 = :n % 7 and phone is not null;
			update employee set birth_date = birth_date + '1 day'::interval, reports_to = 1 where employee_id = 3;
			insert into customer (customer_id, first_name, last_name, email) values (1, 'Up', 'Sert', 'upsert@example.org'),
				(3000 + :n, 'In', 'Sert', 'insert@example.org')
				on conflict (customer_id) do update set email = excluded.email || :n, fax = excluded.last_name returning customer_id, email, fax;
			merge into employee e using (values (100 + :n, 'merged' || :n), (400 + :n, 'made' || :n)) v (id, email) on e.employee_id = v.id
				when matched then update set email = v.email
				when not matched then insert (employee_id, last_name, first_name, email) values (v.id, 'Mer', 'Ge', v.email);
			copy customer (customer_id, first_name, last_name, email, phone) from stdin (delimiter '|');
4000:N|Co|Py|copy@example.org|+4
5000:N|Co|Py|copy@example.org|\N
\.
			update customer set customer_id = customer_id + 10000 where customer_id = 5000 + :n;
			update employee set employee_id = 700 + :n where employee_id = 400 + :n;
			-- What is refused.
			insert into customer (customer_id, first_name, last_name, email) values (1, 'Dup', 'Licate', 'x');
			insert into customer (customer_id, first_name, last_name, email) values (6000 + :n, 'Nu', 'Ll', null);
			insert into customer (customer_id, first_name, last_name, email) values (6000 + :n, 'Lo', 'Ng', repeat('x', 61));
			insert into customer (customer_id, first_name, last_name, email, support_rep_id) values (6000 + :n, 'No', 'Rep', 'x', 99999);
			update invoice set customer_id = 99999 where invoice_id = 1;
			delete from customer where customer_id = 1000 + :n;
			delete from employee where employee_id = 100 + :n;
			update customer set customer_id = 6000 + :n where customer_id = 1000 + :n;
			-- A statement that deletes on both sides of a foreign key.
			with gone as (delete from customer where customer_id in (2000 + :n, 4000 + :n) returning 1)
				delete from invoice where invoice_id = 10000 + :n and exists (select from gone);
			with gone as (delete from customer where support_rep_id = 100 + :n) delete from employee where employee_id = 100 + :n;
			begin; update customer set email = 'undone'; savepoint s; delete from invoice; rollback to s; rollback;
			-- What is found.
			select customer_id, phone, fax from customer where email = 'renamed' || :n || '@example.org';
			select customer_id, email from customer where phone in ('+4', '+55 1') order by 1;
			select c.customer_id, c.email, e.email, e.birth_date from customer c join employee e on e.employee_id = c.support_rep_id
				where e.email = (select email from employee where employee_id = 3) order by 1;
			select a.customer_id, b.customer_id from customer a join customer b on a.email = b.email and a.customer_id < b.customer_id order by 1, 2;
			select c.country, count(distinct c.email), sum(i.total) from customer c join invoice i using (customer_id) group by 1 order by 1;
			select customer_id, length(email), upper(address), email like '%example.org' from customer where postal_code = :'n' order by 1;
		},
	},
	pagila => {
		migrations => [
			{ table => 'customer', columns => '{email, last_name}', search => '{email, last_name}' },
			{ table => 'staff', columns => '{email, password, picture}', search => '{email}' },
			{ table => 'address', columns => '{address, phone, postal_code}', search => '{phone}' },
			{ table => 'payment', columns => '{amount}' },
		],
		# The same time in both.
		before => q{create or replace function last_updated() returns trigger language plpgsql as
			$$ begin new.last_update = '2023-01-01'; return new; end $$},
		application => q{
			insert into address (address_id, address, district, city_id, phone, last_update)
				values (9000 + :n, :n || ' Rue', 'D', 1, '555-' || :n, '2022-02-02');
			insert into staff (staff_id, first_name, last_name, address_id, email, store_id, username, password, last_update, picture)
				values (100 + :n, 'New', 'One', 9000 + :n, 'staff' || :n, 1, 'n', 'secret', '2022-02-02', '\x00ff');
			insert into customer (customer_id, store_id, first_name, last_name, email, address_id, create_date, last_update)
				values (9000 + :n, 2, 'NEW', 'LAST' || :n, 'new' || :n, 9000 + :n, '2022-02-02', '2022-02-02');
			-- By a sequence, with a default.
			insert into customer (store_id, first_name, last_name, address_id, create_date, last_update)
				values (1, 'BY', 'DEFAULT', 9000 + :n, '2022-02-02', '2022-02-02') returning customer_id, email, activebool;
			insert into payment (customer_id, staff_id, rental_id, amount, payment_date)
				select 9000 + :n, 100 + :n, min(rental_id), m + :n / 100.0, make_timestamptz(2022, m, 3, 4, 5, 6.5, 'UTC')
				from rental, generate_series(1, 7) m group by m order by m;
			-- Cascades to all that live there.
			update address set address_id = 19000 + :n where address_id = 9000 + :n;
			select customer_id, address_id from customer where address_id = 19000 + :n order by 1;
			-- Moves between partitions.
			update payment set payment_date = payment_date + '1 month'::interval, amount = amount + 1
				where customer_id = 9000 + :n and payment_date < '2022-03-01';
			update payment set amount = 0 where customer_id = :n and amount < 3;
			delete from payment where customer_id = 10 + :n;
			delete from customer where customer_id = 9000 + :n and not exists (select from payment p where p.customer_id = customer.customer_id);
			merge into staff s using (values (100 + :n), (200 + :n)) v (id) on s.staff_id = v.id
				when matched then update set password = null, picture = picture || '\x01'::bytea
				when not matched then insert (staff_id, first_name, last_name, address_id, store_id, username, last_update)
					values (v.id, 'Mer', 'Ge', 1, 1, 'm', '2022-02-02');
			begin; truncate payment; select count(*) from payment; rollback;
			-- What is refused.
			insert into payment (payment_id, customer_id, staff_id, rental_id, amount, payment_date) values (1, 1, 1, 1, 1, '2030-01-01');
			insert into payment (payment_id, customer_id, staff_id, rental_id, amount, payment_date) values (1, 1, 1, 1, 1000, '2022-01-01');
			insert into payment (payment_id, customer_id, staff_id, rental_id, amount, payment_date) values (1, 1, 99999, 1, 1, '2022-01-01');
			update payment set customer_id = 99999 where customer_id = 9000 + :n;
			delete from address where address_id = 19000 + :n;
			delete from staff where staff_id = 100 + :n;
			delete from customer where customer_id = 9000 + :n;
			-- What is found.
			select customer_id, first_name from customer where last_name = 'LAST' || :n order by 1;
			select s.staff_id, a.phone, s.picture from staff s join address a using (address_id) where a.phone = '555-' || :n order by 1;
			select * from customer_list where phone = '555-' || :n order by id;
			select * from staff_list order by id;
			select * from sales_by_store order by 1, 2;
			select date_trunc('month', payment_date), count(*), sum(amount), max(amount::numeric) from payment group by 1 order by 1;
		},
	},
);

# Compiling the long queries of the catalog would take half of the time.
my $node = new_node('databases', extension => 0, conf => 'jit = off');
$node->safe_psql('postgres', 'create role regress_app login');
my $n = 0;

# What both answer, and what each of both says.
sub compare
{
	my ($db, $sql, $when, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @said;
	for my $name ($db, "${db}_twin")
	{
		my ($out, $err);
		$node->psql($name, $sql, stdout => \$out, stderr => \$err, on_error_stop => 0,
			extra_params => [ '-v', 'VERBOSITY=sqlstate', '-v', "n=$n", $options{superuser} ? () : ('-U', 'regress_app') ]);
		push @said, "$out\n$err";
	}
	# More than a line of context says nothing.
	if ($said[0] ne $said[1])
	{
		my @lines = map { [ split /\n/ ] } @said;
		my @has   = map { my %has = map { $_ => 1 } @$_; \%has } @lines;
		diag("migrated only: $_") for grep { defined } (grep { !$has[1]{$_} } @{ $lines[0] })[ 0 .. 4 ];
		diag("twin only:     $_") for grep { defined } (grep { !$has[0]{$_} } @{ $lines[1] })[ 0 .. 4 ];
	}
	ok($said[0] eq $said[1] && $said[0] =~ /\w/, $when);
	return $said[0];
}

my $columns = q{select string_agg(quote_ident(attname), ', ' order by attname) from pg_attribute
	where attrelid = '%s'::regclass and attnum > 0 and not attisdropped};

# Foreign keys that are enforced though one of their tables is only kept in step, or the other way round.
my $wrong_keys = q{
	select o.conrelid::regclass, o.conname, t.tgname, t.tgenabled
	from pg_constraint o join pg_trigger t on t.tgconstraint = o.oid
	where o.contype = 'f' and (t.tgenabled = 'D') <> exists (
		select from encrypt.migrations m join encrypt.migration_relations r using (migration_id)
		cross join lateral (select case when m.phase = 'cut_over' then r.plain else r.encrypted end) as s (shadow)
		where s.shadow in (o.conrelid, o.confrelid))};

# The application's statements, then all rows.
sub application
{
	my ($db, $when) = @_;
	$n++;
	my $script = $database{$db}{application} =~ s/:N/$n/gr;
	my $said = compare($db, $script, "$db $when: the application sees no difference");
	for my $migration (@{ $database{$db}{migrations} })
	{
		my $list = $node->safe_psql($db, sprintf $columns, $migration->{table});
		compare($db, "select $list from $migration->{table} order by " . $node->safe_psql("${db}_twin", qq{
				select string_agg(quote_ident(attname), ', ') from pg_index join pg_attribute on attrelid = indrelid and attnum = any (indkey)
				where indisprimary and indrelid = '$migration->{table}'::regclass}),
			"$db $when: all rows of $migration->{table}");
	}
	is($node->safe_psql($db, $wrong_keys), '', "$db $when: keys of tables in use are enforced, no others");
	return $said;
}

# The last migration of a table.
sub number
{
	my ($db, $migration) = @_;
	return $node->safe_psql($db, "select max(migration_id) from encrypt.migrations where table_name = '$migration->{table}'");
}

sub start
{
	my ($db, $migration) = @_;
	my $search = $migration->{search} // '{}';
	for my $reason (1 .. 5)
	{
		my ($sqlstate, $said) = sql_error($node,
			"select encrypt.start_migration('$migration->{table}', '$migration->{columns}', search => '$search')", dbname => $db);
		return unless defined $sqlstate;
		is($sqlstate, '0A000', "$db $migration->{table}: can't be migrated as it is") or die $said;
		my ($hint) = $said =~ /^HINT:  Run: (.*;)$/m;
		# What helps is told as a statement.
		$node->safe_psql($_, $hint) for $db, "${db}_twin";
	}
	die "$migration->{table} can't be migrated";
}

sub step
{
	my ($db, $step, @migrations) = @_;
	$node->safe_psql($db, join '', 'set client_min_messages = warning;', map { "call encrypt.$step(" . number($db, $_) . ');' } @migrations);
	return;
}

my $catalog = q{
	select attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
	from pg_attribute join pg_class c on c.oid = attrelid left join pg_attrdef on adrelid = attrelid and adnum = attnum
	where relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped order by attrelid::regclass::text collate "C", attname;
	select conrelid::regclass, conname, pg_get_constraintdef(oid) from pg_constraint
	where connamespace = 'public'::regnamespace order by conrelid::regclass::text collate "C", conname;
	select tgrelid::regclass, tgname, tgenabled from pg_trigger join pg_class c on c.oid = tgrelid
	where relnamespace = 'public'::regnamespace and not tgisinternal order by tgrelid::regclass::text collate "C", tgname;
	select pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indexrelid
	where relnamespace = 'public'::regnamespace order by 1;
	-- A conversion that was implicit on the encrypted column stays where it was written down.
	select viewname, regexp_replace(definition, '\(([a-z.]+)\)::numeric', '\1', 'g') from pg_views where schemaname = 'public' order by 1;
	select oid::regclass, relacl from pg_class where relnamespace = 'public'::regnamespace order by relname;
	select typname from pg_type where typnamespace = 'public'::regnamespace order by 1};

sub try_database
{
	my ($db, $file) = @_;
	my $own  = $database{$db};
	my @all  = @{ $own->{migrations} };
	load_database($node, $db, $file);
	$node->safe_psql($db, $own->{before}) if $own->{before};
	$node->safe_psql($db, 'grant all on all tables in schema public to regress_app; grant all on all sequences in schema public to regress_app; analyze');
	$node->safe_psql('postgres', "create database ${db}_twin template $db");
	$node->safe_psql($db, q{
		create extension pg_encrypt;
		select encrypt.create_key('default');
		select encrypt.grant_key('default', 'regress_app', 'encrypt', 'decrypt', 'search');
	});

	start($db, $_) for @all;
	application($db, 'while writes go to both');
	step($db, 'backfill', @all);
	application($db, 'after the backfill');
	step($db, 'verify', @all);
	# One after the other: each has neighbours before and after cutover.
	for my $migration (@all)
	{
		step($db, 'cutover', $migration);
		application($db, "after cutover of $migration->{table}");
	}
	step($db, 'verify', @all);
	is($node->safe_psql($db, q{select bool_and((verification ->> 'passed')::boolean) from encrypt.migrations}), 't',
		"$db: both tables of each are equal after cutover");

	for my $migration (@all)
	{
		step($db, 'rollback_migration', $migration);
		application($db, "after rollback of $migration->{table}");
	}
	compare($db, $catalog, "$db: after the way back the catalog is as it was", superuser => 1);

	# There again, in the other order, and to the end.
	for my $migration (reverse @all)
	{
		my $search = $migration->{search} // '{}';
		$node->safe_psql($db, "set client_min_messages = warning;
			call encrypt.migrate('$migration->{table}', '$migration->{columns}', search => '$search')");
	}
	application($db, 'after cutover of all, again');
	for my $migration (@all)
	{
		step($db, 'finalize_migration', $migration);
		application($db, "after the end of $migration->{table}");
		my $places = $node->safe_psql($db, "select place from encrypt.leftover_plaintext('$migration->{table}')");
		like($places, qr/write-ahead log of this server\n(.*\n)*backups and archived log/, "$db $migration->{table}: leftovers are told");
		unlike($places, qr/_plaintext|^statistics/m, "$db $migration->{table}: no table and no statistics are left");
	}
	is($node->safe_psql($db, q{select count(*) from pg_class where relname ~ '_(plaintext|encrypted)'}), '0', "$db: no table or index is left");
	is($node->safe_psql($db, q{select count(*) from pg_trigger where tgenabled = 'D'}), '0', "$db: every key is enforced");
	$node->safe_psql('postgres', "drop database $_") for $db, "${db}_twin";
	return;
}

for my $db (sort keys %database)
{
	my $file = sample_file($db);
	note("$db: " . ($file // 'the stand-in'));
	try_database($db, $file);
}
$node->stop;
done_testing();
