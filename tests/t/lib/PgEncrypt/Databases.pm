package PgEncrypt::Databases;

=head1 NAME

PgEncrypt::Databases - two small databases that are like well-known sample databases

=head1 SYNOPSIS

  use PgEncrypt::Databases;

  load_database($node, 'chinook');              # a stand-in of the same shape
  load_database($node, 'chinook', $file);       # the real one

Chinook is a music shop (lerocha/chinook-database), Pagila a film rental (devrimgunduz/pagila). Their data are not part of this
software; the stand-ins have the tables, columns, keys, views and triggers that tests speak of, with invented rows.

=cut

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(load_database sample_file);

my %stand_in = (
	chinook => q{
		create table employee (
			employee_id integer primary key, last_name varchar(20) not null, first_name varchar(20) not null, title varchar(30),
			reports_to integer references employee, birth_date timestamp, hire_date timestamp, address varchar(70),
			city varchar(40), state varchar(40), country varchar(40), postal_code varchar(10), phone varchar(24),
			fax varchar(24), email varchar(60));
		create table customer (
			customer_id integer primary key, first_name varchar(40) not null, last_name varchar(20) not null,
			company varchar(80), address varchar(70), city varchar(40), state varchar(40), country varchar(40),
			postal_code varchar(10), phone varchar(24), fax varchar(24), email varchar(60) not null,
			support_rep_id integer references employee);
		create index on customer (support_rep_id);
		create table invoice (
			invoice_id integer primary key, customer_id integer not null references customer, invoice_date timestamp not null,
			billing_address varchar(70), billing_city varchar(40), billing_state varchar(40), billing_country varchar(40),
			billing_postal_code varchar(10), total numeric(10,2) not null);
		insert into employee select i, 'Last ' || i, 'First ' || i, 'Title', nullif(i / 2, 0), '1960-01-01'::timestamp + i * '90 days'::interval,
			'2002-05-01', i || ' Street', 'City', 'ST', 'Country', '1000' || i, '+1 555 000' || i, null, 'staff' || i || '@example.com'
		from generate_series(1, 8) i;
		insert into customer select i, 'First ' || i, 'Last ' || i, null, i || ' Ávenida', 'City', null, 'Country ' || i % 5, i::text,
			case when i % 4 > 0 then '+55 ' || i % 20 end, case when i % 9 = 0 then '' end, 'customer' || i || '@example.com', 1 + i % 5
		from generate_series(1, 59) i;
		insert into invoice select i, 1 + i % 59, '2021-01-01', null, null, null, null, null, i / 10.0 from generate_series(1, 200) i;
	},
	pagila => q{
		create domain bigint_domain as bigint;
		create function last_updated() returns trigger language plpgsql as $$
			begin new.last_update = current_timestamp; return new; end $$;
		create table city (city_id serial primary key, city text not null, last_update timestamptz not null default now());
		create table address (
			address_id serial primary key, address text not null, address2 text, district text not null,
			city_id integer not null references city on update cascade on delete restrict, postal_code text, phone text not null,
			last_update timestamptz not null default now());
		create table store (
			store_id serial primary key, manager_staff_id integer not null unique,
			address_id integer not null references address on update cascade on delete restrict);
		create table staff (
			staff_id serial primary key, first_name text not null, last_name text not null,
			address_id integer not null references address on update cascade on delete restrict, email text,
			store_id integer not null references store, active boolean not null default true, username text not null,
			password text, last_update timestamptz not null default now(), picture bytea);
		create table customer (
			customer_id serial primary key, store_id integer not null references store on update cascade on delete restrict,
			first_name text not null, last_name text not null, email text,
			address_id integer not null references address on update cascade on delete restrict,
			activebool boolean not null default true, create_date date not null default current_date,
			last_update timestamptz default now(), active integer);
		create index idx_last_name on customer (last_name);
		create table rental (
			rental_id serial primary key, customer_id integer not null references customer on update cascade on delete restrict,
			staff_id integer not null references staff on update cascade on delete restrict);
		create table payment (
			payment_id serial, customer_id integer not null, staff_id integer not null, rental_id integer not null,
			amount numeric(5,2) not null, payment_date timestamptz not null, primary key (payment_date, payment_id))
			partition by range (payment_date);
		do $$ begin
			-- The foreign keys are those of the partitions, and the last one has none.
			for m in 1..7 loop
				execute format('create table payment_p2022_%s partition of payment for values from (%L) to (%L)', to_char(m, 'FM00'),
					make_date(2022, m, 1), make_date(2022, m + 1, 1));
				if m < 7 then
					execute format('alter table payment_p2022_%s add foreign key (customer_id) references customer,
						add foreign key (staff_id) references staff, add foreign key (rental_id) references rental', to_char(m, 'FM00'));
				end if;
			end loop;
		end $$;
		create trigger last_updated before update on address for each row execute function last_updated();
		create trigger last_updated before update on customer for each row execute function last_updated();
		create trigger last_updated before update on staff for each row execute function last_updated();
		insert into city select i, 'City ' || i from generate_series(1, 10) i;
		insert into address select i, i || ' Road', case when i % 3 = 0 then '' end, 'District', 1 + i % 10, case when i % 5 > 0 then (10000 + i)::text end,
			(28303384290 + i)::text, '2022-02-15' from generate_series(1, 620) i;
		insert into store values (1, 1, 1), (2, 2, 2);
		insert into staff values (1, 'Mike', 'H', 3, 'mike@example.com', 1, true, 'Mike', '8cb2', '2022-02-15', '\x89504e470d0a5a0a'),
			(2, 'Jon', 'S', 4, 'jon@example.com', 2, true, 'Jon', null, '2022-02-15', null);
		insert into customer select i, 1 + i % 2, 'FIRST' || i, 'LAST' || i % 300, 'CUSTOMER' || i || '@example.org', 5 + i, true, '2022-02-14',
			'2022-02-15', i % 2 from generate_series(1, 599) i;
		insert into rental select i, 1 + i % 599, 1 + i % 2 from generate_series(1, 1000) i;
		insert into payment select i, 1 + i % 599, 1 + i % 2, 1 + i % 1000, (i % 1200) / 100.0,
			'2022-01-02'::timestamptz + i % 200 * '1 day'::interval from generate_series(1, 4000) i;
		select setval('customer_customer_id_seq', 599), setval('address_address_id_seq', 620), setval('staff_staff_id_seq', 2),
			setval('payment_payment_id_seq', 4000);
		create view customer_list as
			select cu.customer_id as id, cu.first_name || ' ' || cu.last_name as name, a.address, a.postal_code as "zip code", a.phone,
				city.city, case when cu.activebool then 'active' else '' end as notes, cu.store_id as sid
			from customer cu join address a using (address_id) join city using (city_id);
		create view staff_list as
			select s.staff_id as id, s.first_name || ' ' || s.last_name as name, a.address, a.postal_code as "zip code", a.phone, city.city,
				s.store_id as sid
			from staff s join address a using (address_id) join city using (city_id);
		create view sales_by_store as
			select c.city as store, m.first_name || ' ' || m.last_name as manager, sum(p.amount) as total_sales
			from payment p join customer cu using (customer_id) join store s using (store_id) join address a on s.address_id = a.address_id
				join city c using (city_id) join staff m on s.manager_staff_id = m.staff_id
			group by c.city, s.store_id, m.first_name, m.last_name order by c.city;
		create materialized view rental_by_category as select staff_id, sum(amount) from payment group by 1;
		create function rewards_report(min_monthly_purchases integer) returns setof customer language sql as
			$$ select * from customer where customer_id < min_monthly_purchases $$;
	},
);

=head1 FUNCTIONS

=head2 load_database(NODE, NAME, [FILE])

Creates and fills the database NAME, from the file or, without one, with the stand-in.

=cut

sub load_database
{
	my ($node, $name, $file) = @_;
	$node->safe_psql('postgres', "create database $name");
	$node->safe_psql($name, defined $file ? slurp_file($file) : $stand_in{$name});
	return;
}

=head2 sample_file(NAME)

The file with the real database, if the environment variable PG_ENCRYPT_SAMPLES names a directory that has it; or undef.

=cut

sub sample_file
{
	my ($name) = @_;
	my $file = ($ENV{PG_ENCRYPT_SAMPLES} // '') . "/$name.sql";
	return -r $file ? $file : undef;
}

1;
